/** Tables as a real kernel had them, by the lines that it printed. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import { GEOMETRY_4K } from '../../../src/machine/geometry.ts';
import { kernelDump } from '../../../src/main/dump/kernel.ts';
import type { Snapshot } from '../../../src/main/dump/snapshot.ts';
import { dumpTable } from '../../../src/pgtable/dump.ts';
import { stage2Wrprotect } from '../../../src/pgtable/stage2-attributes.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { M2, PAGE, RO, RW, TestTable } from '../../pgtable/helpers.ts';

const RWX = RW | Prot.x;
const PA = 0x1_0000_0000;
/** First page of the test's memory: four blocks of 2M, or pages that end where the address space does. */
const BLOCKS = 0xff_ff60_0000;
const PAGES = 0xff_ffbf_f000;

/** The capture lost the blanks at the end of each of its parts. */
const fixture = (name: string): string =>
  readFileSync(new URL(`../../fixtures/dump/${name}.txt`, import.meta.url), 'utf8').trimEnd();

function snapshotOf(table: TestTable): Snapshot {
  return {
    head: {
      schema: 'faultline.dump/1',
      workload: 'none',
      engine: 'explore',
      kvm: '5.10',
      vcpus: 1,
      seed: 1,
      geometry: { granule: '4K', ipaBits: 40, startLevel: 1, rootPages: 2 },
      vtcr: '0x0000000080053558',
      vttbr: '0x0001001000000000',
    },
    geometry: GEOMETRY_4K,
    entries: drive(dumpTable(table.pgt)),
  };
}

/** The dump without the blanks at its end. */
const dumpOf = (table: TestTable): string => kernelDump(snapshotOf(table)).trimEnd();

/** As many lines of the end of the dump as the fixture has. */
function endOf(table: TestTable, expected: string): string {
  return dumpOf(table).split('\n').slice(-expected.split('\n').length).join('\n');
}

test('pages of a guest that has just started: the whole dump, without the last hole', () => {
  const table = new TestTable();
  const pages: readonly (readonly [number, number, number])[] = [
    [0x2, 1, RWX],
    [0xe, 1, RWX],
    [0x13, 1, RWX],
    [0xe4, 1, RW],
    [0xee, 1, RW],
    [0xf5, 1, RW],
    [0x180, 1, RW],
    [0x182, 4, RW],
    [0x18a, 2, RW],
  ];
  for (const [first, count, prot] of pages) {
    table.map(first * PAGE, count * PAGE, PA + first * PAGE, prot);
  }
  expect(dumpOf(table)).toBe(fixture('pages'));
  // Where pages lie plays no part, nor does what a broken entry left.
  table.map(0x182 * PAGE, PAGE, PA);
  table.unmap(0x18a * PAGE, 2 * PAGE);
  table.map(0x18a * PAGE, 2 * PAGE, PA);
  table.map(0x18c * PAGE, PAGE, PA);
  table.unmap(0x18c * PAGE, PAGE);
  expect(dumpOf(table)).toBe(fixture('pages'));
});

/** Something at the beginning, as every guest has. */
function withBlocks(): TestTable {
  const table = new TestTable();
  table.map(PAGE, PAGE, PA);
  table.map(BLOCKS, 4 * M2, PA);
  return table;
}

test('blocks that were write-protected', () => {
  const table = withBlocks();
  drive(stage2Wrprotect(table.pgt, BLOCKS, 4 * M2));
  const expected = fixture('blocks-write-protected');
  expect(endOf(table, expected)).toBe(expected);
});

test('blocks that were dissolved by a write, with a part that was read', () => {
  const table = withBlocks();
  for (let at = BLOCKS; at < BLOCKS + 4 * M2; at += M2) {
    table.map(at, PAGE, PA);
    for (let page = at + M2 / 2; page < at + M2; page += PAGE) table.map(page, PAGE, PA, RO);
  }
  const expected = fixture('blocks-dissolved');
  expect(endOf(table, expected)).toBe(expected);
});

test('pages that were aged, and some that were used again', () => {
  const table = new TestTable();
  table.map(PAGE, PAGE, PA);
  table.map(PAGES, 1024 * PAGE, PA);
  for (let at = PAGES; at < 0xff_ffff_9000; at += PAGE) table.plant(at, 3, 0x0040_0001_0000_03ffn);
  const expected = fixture('aged');
  expect(endOf(table, expected)).toBe(expected);
});

test('the last line is missing whatever it would say', () => {
  const table = new TestTable();
  table.map(2 ** 40 - PAGE, PAGE, PA);
  const lines = dumpOf(table).split('\n');
  expect(lines.at(-1)).toBe('0x000000ffffe00000-0x000000fffffff000        2044K 3');
});

test('of an empty table there is the title', () => {
  expect(kernelDump(snapshotOf(new TestTable()))).toBe('---[ Guest IPA ]---\n');
});

test('entries that do not fit into a table are an error', () => {
  const snapshot = snapshotOf(withBlocks());
  expect(() => kernelDump({ ...snapshot, entries: snapshot.entries.slice(1) })).toThrow(
    'an entry of level 2 in a table of level 1',
  );
});
