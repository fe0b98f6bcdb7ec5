/** Blocks stored by the legacy code, over nothing, over blocks, over tables. */
import { describe, expect, test } from 'vitest';
import { G1, M2, PAGE, RO } from '../helpers.ts';
import { LegacyTable } from './legacy-table.ts';

const IPA = 0x4020_0000;
const HOST = 0x8000_0000;

describe('a block', () => {
  test('over nothing takes a reference; no TLBI', () => {
    const table = new LegacyTable();
    expect(table.setHuge(IPA + PAGE, 2, HOST)).toBe('ok');
    expect([table.walks(), table.cache.taken]).toEqual([1, 1]);
    expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
  });

  test('over the same one changes nothing; over one of other permissions breaks it', () => {
    const table = new LegacyTable();
    table.setHuge(IPA, 2, HOST);
    table.ops.onFlush = () => ` leaves ${table.contents().leaves.length}`;
    table.setHuge(IPA, 2, HOST);
    expect(table.logged()).toEqual([]);
    table.setHuge(IPA + PAGE, 2, HOST, RO);
    expect(table.logged()).toEqual(['tlbi 40201000 hint 2 leaves 0']);
    expect(table.words()).toEqual(['2 40200000 -> 80000000 r--']);
  });

  test('over one of other memory is a bug: a notifier unmaps that first', () => {
    const table = new LegacyTable();
    table.setHuge(IPA, 2, HOST);
    expect(() => table.setHuge(IPA, 2, HOST + M2)).toThrow('other memory');
    expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
  });

  test('inside a larger one is a bug', () => {
    const table = new LegacyTable();
    table.setHuge(G1, 1, 2 * G1);
    expect(() => table.setHuge(IPA, 2, HOST)).toThrow('a block of level 1 in the way');
    expect(table.words()).toEqual(['1 40000000 -> 80000000 rw-']);
  });

  test('with a cache that runs dry is a bug', () => {
    const table = new LegacyTable({ cachePages: 0 });
    expect(() => table.setHuge(IPA, 2, HOST)).toThrow('setHuge: the cache ran dry');
  });

  test.each([
    ['1 GiB of a table of two levels', 32, 12, 1],
    ['64 GiB with 16K', 48, 14, 1],
    ['4 TiB with 64K', 48, 16, 1],
  ] as const)('of %s is refused', (_, ipaBits, shift, level) => {
    const table = new LegacyTable({ shift, ipaBits });
    expect(table.setHuge(0, level, 0)).toBe('invalid');
    expect(table.leaves()).toEqual([]);
  });
});

describe('a table in the way', () => {
  test('is unmapped page by page, and what is empty above it too; three walks in all', () => {
    const table = new LegacyTable();
    for (const page of [0, 5, 511]) table.setPte(IPA + page * PAGE, HOST + page * PAGE);
    table.walks();
    expect(table.setHuge(IPA + PAGE, 2, HOST)).toBe('ok');
    const tlbis = table.ops.log.filter((line) => line.startsWith('tlbi'));
    expect(tlbis).toEqual([
      'tlbi 40200000 hint 3',
      'tlbi 40205000 hint 3',
      'tlbi 403ff000 hint 3',
      'tlbi 40200000 hint 0',
      'tlbi 40200000 hint 0',
    ]);
    expect(table.walks()).toBe(3);
    // Two for the pages; the freed T2 again.
    expect(table.cache.taken).toBe(3);
    expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
  });

  test('goes whatever is below, and nothing beside it', () => {
    const table = new LegacyTable();
    table.setPte(G1, HOST);
    table.setHuge(G1 + M2, 2, HOST);
    table.setPte(2 * G1, HOST);
    table.setPte(G1 - PAGE, HOST);
    expect(table.setHuge(G1, 1, 4 * G1)).toBe('ok');
    expect(table.words()).toEqual([
      '3 3ffff000 -> 80000000 rw-',
      '1 40000000 -> 100000000 rw-',
      '3 80000000 -> 80000000 rw-',
    ]);
  });
});
