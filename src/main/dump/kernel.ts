/**
 * A stage-2 table in the form that Linux 6.12 prints it in (debugfs, `stage2_page_tables`), to be laid beside a real kernel's. As
 * observed: neighbours of one level and equal flags are one line wherever they translate to; holes have lines, too; the last
 * line of the address space is missing, because a line is printed by the one after it.
 *
 * Not reproduced: a long dump of the kernel's may have, in the place of the title, a first line that starts where the last line of
 * an earlier attempt did, with a size beyond all memory.
 */
import { SpanMap, type DumpEntry } from '../../pgtable/dump.ts';
import { hex64, type Snapshot } from './snapshot.ts';

const TITLE = '---[ Guest IPA ]---';

/** Columns of a valid entry: what stands there when the bit is set, blanks when it is not. */
const FLAGS: readonly { readonly bit: bigint; readonly text: string }[] = [
  { bit: 1n << 6n, text: ' R' },
  { bit: 1n << 7n, text: ' W' },
  // Set: not executable.
  { bit: 1n << 54n, text: ' X' },
  { bit: 1n << 10n, text: ' AF' },
];
const BLOCK = ' BLK';
/** Before the flags: where the kernel marks an entry that is not valid but says something. */
const VALID = '  ';

/** Blanks and digits of a size, after the range. */
const SIZE_WIDTH = 12;
const UNITS = ['K', 'M', 'G', 'T', 'P'] as const;
const UNIT = 1024;

interface Run {
  readonly start: number;
  end: number;
  readonly level: number;
  readonly flags: string;
}

/** The dump, ending in a newline. Invalid entries, whatever they hold, are holes. */
export function kernelDump({ head, geometry, entries }: Snapshot): string {
  const { startLevel, ipaBits } = head.geometry;
  const map = new SpanMap({ geometry, startLevel, iaLimit: 2 ** ipaBits });
  for (const entry of entries) {
    const problem = map.place(entry);
    if (problem !== null) throw new Error(`${hex64(entry.ipa)}: ${problem}`);
  }
  const runs: Run[] = [];
  for (const { start, end, level, entry } of map.end()) {
    const flags = flagsOf(entry);
    const last = runs.at(-1);
    if (last?.level === level && last.flags === flags) last.end = end;
    else runs.push({ start, end, level, flags });
  }
  return [TITLE, ...runs.slice(0, -1).map(line), ''].join('\n');
}

function flagsOf(entry: DumpEntry | null): string {
  if (entry === null || entry.kind === 'invalid') return '';
  const flags = FLAGS.map(({ bit, text }) =>
    (entry.value & bit) === 0n ? ' '.repeat(text.length) : text,
  );
  const block = entry.kind === 'block' ? BLOCK : ' '.repeat(BLOCK.length);
  return [VALID, ...flags, block].join('');
}

function line({ start, end, level, flags }: Run): string {
  return `${hex64(start)}-${hex64(end)}${sizeText(end - start)} ${level}${flags}`;
}

/** In the largest unit that leaves a whole number: of at most 2^52 bytes. */
function sizeText(bytes: number): string {
  let size = bytes / UNIT;
  let unit = 0;
  while (size % UNIT === 0) {
    size /= UNIT;
    unit++;
  }
  return `${String(size).padStart(SIZE_WIDTH)}${UNITS[unit]}`;
}
