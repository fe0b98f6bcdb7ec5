import { readFileSync, readdirSync } from 'node:fs';

const PGTABLE = new URL('../src/pgtable/', import.meta.url);
const LEGACY = new URL('legacy/', PGTABLE);
const BLOCK = /(<!-- line counts -->\n)[^]*?(<!-- end of line counts -->)/;

/** What both generations use: protections and their encoding, the handle, what a table is handed. */
const SHARED = /^(?:stage2-prot|hyp-prot|pgtable|mm-ops|outcome)\.ts$/;
/** Looks at tables, changes none. */
const TOOLS = /^(?:bit-decoder|digest|dump|siphash)\.ts$/;
const HYP = /^hyp/;

/** Lines of a text, and those of them with code: neither blank nor comment. */
export interface LineCount {
  readonly code: number;
  readonly lines: number;
}

/** Counts by lines: code stands on a line of its own, as the formatter leaves it. */
export function countLines(text: string): LineCount {
  const lines = text.split('\n').length - 1;
  const bare = text.replaceAll(/^[ \t]*\/\*[^]*?\*\/[ \t]*$/gm, '').split('\n');
  const code = bare.map((line) => line.trim()).filter((line) => !/^(?:\/\/.*)?$/.test(line));
  return { code: code.length, lines };
}

interface Part {
  readonly name: string;
  readonly folder: URL;
  readonly has: (file: string) => boolean;
}

const isShared = (file: string): boolean => SHARED.test(file) || TOOLS.test(file);

const PARTS: readonly Part[] = [
  {
    name: 'the library: walker, stage 2',
    folder: PGTABLE,
    has: (file) => !isShared(file) && !HYP.test(file),
  },
  {
    name: 'the library: hypervisor',
    folder: PGTABLE,
    has: (file) => !isShared(file) && HYP.test(file),
  },
  { name: '`legacy`: stage 2', folder: LEGACY, has: (file) => !HYP.test(file) },
  { name: '`legacy`: hypervisor', folder: LEGACY, has: (file) => HYP.test(file) },
  { name: 'used by both', folder: PGTABLE, has: (file) => SHARED.test(file) },
];

/** A row for each part: files, lines of code, all lines. */
export function lineCountTable(): string {
  const rows = PARTS.map((part) => {
    const files = readdirSync(part.folder).filter((file) => file.endsWith('.ts') && part.has(file));
    const counts = files.map((file) =>
      countLines(readFileSync(new URL(file, part.folder), 'utf8')),
    );
    const code = counts.reduce((sum, count) => sum + count.code, 0);
    const lines = counts.reduce((sum, count) => sum + count.lines, 0);
    return `| ${part.name} | ${files.length} | ${code} | ${lines} |\n`;
  });
  return `| part | files | lines of code | lines |\n|---|---|---|---|\n${rows.join('')}`;
}

/** The text with the table between its markers. */
export function withLineCounts(text: string): string {
  if (!BLOCK.test(text)) throw new Error('no markers of line counts');
  return text.replace(BLOCK, (_, begin: string, end: string) => begin + lineCountTable() + end);
}
