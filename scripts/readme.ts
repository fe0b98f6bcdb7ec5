/** Brings the output blocks of README.md up to date: `node scripts/readme.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { withOutputs } from './readme-output.ts';

const readme = new URL('../README.md', import.meta.url);
writeFileSync(readme, await withOutputs(readFileSync(readme, 'utf8')));
