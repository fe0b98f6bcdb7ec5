import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import { stage2SetOwner } from '../../../src/pgtable/parallel/map.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RW } from '../helpers.ts';
import { LOCKED, ParallelTable } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const page = { ipa: IPA, size: PAGE, phys: PHYS };
const block = { ipa: IPA, size: M2, phys: PHYS };

/** Two pages of one table and a block beside it. */
function sample(table = new ParallelTable()): ParallelTable {
  table.map(page);
  table.map({ ...page, ipa: IPA + 2 * PAGE, phys: PHYS + 2 * PAGE });
  table.map({ ...block, ipa: IPA + M2, phys: PHYS + M2 });
  table.logged();
  return table;
}

describe('an unmap', () => {
  test('empties entries one by one: zero, TLBI with the level, clean', () => {
    const table = sample();
    table.ops.onFlush = (ipa) => ` at ${table.lookup(ipa).value.toString(16)}`;
    expect(table.unmap(IPA + 2 * PAGE, M2)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.logged()).toEqual([
      'tlbi 40202000 hint 3 at 0',
      'clean 80002000 1000',
      'tlbi 40400000 hint 2 at 0',
      'clean 80200000 200000',
    ]);
  });

  test('frees tables that become empty, flushed without a level', () => {
    const table = sample();
    expect(table.unmap(IPA, 2 * M2)).toBe('ok');
    expect(table.entries()).toEqual([]);
    expect(table.pagesInUse()).toBe(2);
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([
      'tlbi 40200000 hint 3',
      'tlbi 40202000 hint 3',
      'tlbi 40200000 hint 0',
      'tlbi 40400000 hint 2',
      'tlbi 40200000 hint 0',
    ]);
  });

  test('of part of a block takes all of it', () => {
    const table = new ParallelTable();
    table.map({ ipa: G1, size: G1, phys: 2 * G1 });
    expect(table.unmap(G1 + 5 * M2, PAGE)).toBe('ok');
    expect(table.entries()).toEqual([]);
  });

  test('cleans memory that may be cached, and no other', () => {
    const table = new ParallelTable();
    table.map({ ...page, prot: RW | Prot.device });
    table.logged();
    table.unmap(IPA, PAGE);
    expect(table.logged().filter((line) => line.startsWith('clean'))).toEqual([]);
  });

  test('takes owners, which no TLB has', () => {
    const table = new ParallelTable();
    const { pgt, cache } = table;
    drive(stage2SetOwner(pgt, { ipa: IPA, size: 2 * PAGE, owner: 1, cache }));
    expect(table.unmap(IPA, PAGE)).toBe('ok');
    expect(table.words()).toEqual(['3 40201000 invalid 4']);
    expect(table.logged()).toEqual([]);
    table.unmap(IPA + PAGE, PAGE);
    expect(table.entries()).toEqual([]);
  });

  test('has the table to itself', () => {
    const table = sample();
    table.plant(IPA, LOCKED);
    expect(() => table.unmap(IPA, PAGE)).toThrow('an exclusive walk met a locked entry');
  });

  test('of nothing does nothing', () => {
    const table = sample();
    expect(table.unmap(IPA + 4 * M2, M2)).toBe('ok');
    expect(table.unmap(2 ** 40, PAGE)).toBe('outOfRange');
    expect(table.logged()).toEqual([]);
  });
});

const rangeTable = (fwb: boolean, hasRangeTlbi: boolean): ParallelTable => {
  const table = new ParallelTable({ features: { fwb } });
  table.ops.hasRangeTlbi = hasRangeTlbi;
  return sample(table);
};

describe('one invalidation for all leaves', () => {
  test('follows the walk, with FWB and range TLBI; tables are flushed at once', () => {
    const table = rangeTable(true, true);
    expect(table.unmap(IPA, M2)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40200000 hint 0', 'tlbi range 40200000 200000']);
    expect(table.words()).toEqual(['2 40400000 -> 80200000 rw-']);
  });

  test.each([
    [true, false],
    [false, true],
  ])('takes both: FWB %s, range %s', (fwb, hasRangeTlbi) => {
    const table = rangeTable(fwb, hasRangeTlbi);
    table.unmap(IPA, PAGE);
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([
      'tlbi 40200000 hint 3',
    ]);
  });
});
