/** Prints how long the table code and the code it replaced are, and brings ARCHITECTURE.md up to date: `npm run line-counts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { lineCountTable, withLineCounts } from './line-count-table.ts';

const architecture = new URL('../ARCHITECTURE.md', import.meta.url);
process.stdout.write(lineCountTable());
writeFileSync(architecture, withLineCounts(readFileSync(architecture, 'utf8')));
