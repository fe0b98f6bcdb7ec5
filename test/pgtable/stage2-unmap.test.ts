import { describe, expect, test } from 'vitest';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RW, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;

/** Says at each TLBI whether the entry is invalid then, and how many frames are free. */
function watch(table: TestTable): void {
  table.ops.onFlush = (ipa) => {
    const { level, value } = table.lookup(ipa);
    const { free } = table.zone.accounts();
    return `, ${(value & 1n) === 0n ? 'invalid' : 'valid'} at level ${level}, ${free} free`;
  };
}

describe('the last page of a table', () => {
  test('takes the tables with it, entry by entry, each after its TLBI', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    table.map(AT + 3 * PAGE, PAGE, PA + 3 * PAGE);
    table.logged();
    watch(table);
    expect(table.unmap(AT, M2)).toBe('ok');
    expect(table.logged()).toEqual([
      'tlbi 40203000 hint 3, invalid at level 3, 0 free',
      'clean 80003000 1000',
      // A table's removal: no hint.
      'tlbi 40200000 hint 0, invalid at level 2, 0 free',
      'tlbi 40200000 hint 0, invalid at level 1, 1 free',
    ]);
    expect(table.leaves()).toEqual([]);
    expect(table.counts(AT)).toEqual([1]);
    expect(table.checkPages()).toBe(2);
  });

  test('is broken by its valid bit alone', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    const before = [table.lookup(AT).value, table.machine.entry(table.pgt.pgd, 1)];
    const stores = table.storesOf(() => stage2Unmap(table.pgt, AT, PAGE));
    expect(stores).toHaveLength(3);
    expect(stores[0]?.value).toBe((before[0] as bigint) & ~1n);
    expect(stores[2]?.value).toBe((before[1] as bigint) & ~1n);
  });

  test('of four levels leaves the root alone', () => {
    const table = new TestTable({ ipaBits: 48 });
    table.map(AT, PAGE, PA);
    expect(table.checkPages()).toBe(4);
    table.unmap(AT, PAGE);
    expect(table.checkPages()).toBe(1);
  });
});

describe('a page', () => {
  test('goes alone while others are in its table', () => {
    const table = new TestTable();
    table.map(AT, 3 * PAGE, PA);
    table.logged();
    table.unmap(AT + PAGE, PAGE);
    expect(table.logged()).toEqual(['tlbi 40201000 hint 3', 'clean 80001000 1000']);
    expect(table.leaves()).toEqual(['3 40200000 -> 80000000 rw-', '3 40202000 -> 80002000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2, 3]);
    table.checkPages();
  });

  test('leaves a table above that has other entries', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.map(AT + M2, PAGE, PA);
    table.logged();
    table.unmap(AT, PAGE);
    expect(table.logged()).toEqual([
      'tlbi 40200000 hint 3',
      'clean 80000000 1000',
      'tlbi 40200000 hint 0',
    ]);
    expect(table.counts(AT)).toEqual([2, 2]);
    expect(table.counts(AT + M2)).toEqual([2, 2, 2]);
    table.checkPages();
  });

  test('that is not there costs nothing', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.logged();
    table.unmap(AT + PAGE, 5 * PAGE);
    table.unmap(AT + 4 * G1, G1);
    table.unmap(AT, 0);
    expect(table.logged()).toEqual([]);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    table.unmap(AT, PAGE);
    table.logged();
    // A stale entry is not there.
    table.unmap(AT, PAGE);
    expect(table.logged()).toEqual([]);
    expect(table.checkPages()).toBe(2);
  });

  test('of a device is not cleaned', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA, RW | Prot.device);
    table.map(AT + PAGE, PAGE, PA);
    table.logged();
    table.unmap(AT, PAGE);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3']);
  });
});

describe('a block', () => {
  test.each([
    ['2M', AT, M2, 2],
    ['1G', G1, G1, 1],
  ])('of %s goes whole when the range touches it', (_what, base, size, level) => {
    const table = new TestTable();
    table.map(base, size, 2 * G1);
    table.map(4 * G1, PAGE, PA);
    table.logged();
    watch(table);
    table.unmap(base + 3 * PAGE, PAGE);
    const lines = [
      `tlbi ${(base + 3 * PAGE).toString(16)} hint ${level}, invalid at level ${level}, 0 free`,
      `clean 80000000 ${size.toString(16)}`,
    ];
    expect(table.logged().slice(0, 2)).toEqual(lines);
    expect(table.contents().leaves).toHaveLength(1);
    table.checkPages();
  });

  test('is not touched by a range that ends where it begins', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    table.map(AT - PAGE, PAGE, PA);
    table.unmap(AT - PAGE, PAGE);
    table.unmap(AT + M2, M2);
    expect(table.leaves()).toEqual(['2 40200000 -> 80000000 rw-']);
  });
});

test('everything, across the pages of the root, returns every page', () => {
  const table = new TestTable();
  const seam = 2 ** 39;
  table.map(0x1f_f000, 0x40_2000, 0x801f_f000);
  table.map(seam - PAGE, 2 * PAGE, PA);
  table.map(seam + G1, G1, 2 * G1);
  expect(table.checkPages()).toBe(9);
  expect(table.unmap(0, 2 ** 40)).toBe('ok');
  expect(table.leaves()).toEqual([]);
  expect(table.checkPages()).toBe(2);
});

test('a range beyond the input size is refused, and nothing goes', () => {
  const table = new TestTable();
  table.map(2 ** 40 - PAGE, PAGE, PA);
  table.logged();
  expect(table.unmap(2 ** 40 - PAGE, 2 * PAGE)).toBe('outOfRange');
  expect(table.logged()).toEqual([]);
  expect(table.leaves()).toEqual(['3 fffffff000 -> 80000000 rw-']);
});
