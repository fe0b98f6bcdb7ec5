import { expect, test } from 'vitest';
import { Tables, type Root } from '../../src/check/tables.ts';

const PAGE = 4096;
const BASE = 0x8000_0000;
/** Page 0 is the root, page 1 a table of the last level. */
const ROOT: Root = { word: 8, initial: 1, vmid: 16, mmuLock: 24, sections: 32, isWalked: true };
const LEAF = 0x43;
const entryOf = (page: number): number => BASE + page * PAGE + 3;

function halvesOf(index: number, lo: number): Int32Array {
  const halves = new Int32Array(PAGE / 4);
  halves[index] = lo;
  return halves;
}

test('after a reset the model has what an execution begins with, whatever another one did', () => {
  const zone = { base: BASE, frameBytes: PAGE, frames: 4, contents: 0, meta: 65_536, metaBytes: 8 };
  const initial = [
    { index: 0, halves: halvesOf(0, entryOf(1)), references: 2 },
    { index: 1, halves: halvesOf(0, LEAF), references: 2 },
  ];
  const tables = new Tables({
    zone,
    roots: [ROOT],
    startLevel: 2,
    rootPages: 1,
    hasStage1: false,
    initial,
  });
  const seen = (): unknown => [
    tables.linked.map(({ index, level, ipa, valid, references }) => [
      [index, level, ipa],
      [valid, references],
    ]),
    [0, 1, 2, 3].map((page) => {
      const { halves, valid, ...rest } = tables.pageAt(page * PAGE);
      const { isFreed, isZeroed, unlinkedAt, unlinkedRoot } = rest;
      return [
        halves.filter((half) => half !== 0),
        valid,
        isFreed,
        isZeroed,
        unlinkedAt,
        unlinkedRoot,
      ];
    }),
    tables.walk(ROOT, 0),
    tables.walk(ROOT, PAGE),
    tables.placeOf(2 * PAGE),
  ];
  const before = seen();

  // Page 2 takes the place of page 1, which goes with its leaf, and gets a count.
  tables.store(2 * PAGE, LEAF, 0, 1);
  tables.store(0, entryOf(2), 0, 2);
  tables.store(PAGE, 0, 0, 3);
  tables.pageAt(PAGE).isFreed = true;
  tables.clear(3 * PAGE, 0x6b);
  const page = tables.pageOfCount(65_536 + 16);
  if (page !== null) page.references = 2;
  expect(seen()).not.toEqual(before);

  tables.reset();
  expect(seen()).toEqual(before);
  expect(tables.pageAt(2 * PAGE).references).toBe(0);
  // What comes next is as it was the first time.
  tables.store(0, entryOf(2), 0, 1);
  expect(tables.walk(ROOT, 0)).toEqual({ at: 2 * PAGE, lo: 0, hi: 0, level: 3 });
});
