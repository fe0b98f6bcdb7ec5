/** Pages stored by the legacy code: what is in the way, what is allocated, which TLBIs and barriers there are. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../../src/engine/events.ts';
import { setPte } from '../../../src/pgtable/legacy/set-pte.ts';
import { G1, M2, PAGE, RO } from '../helpers.ts';
import { countOf } from '../../support/tiny-machine.ts';
import { LegacyTable } from './legacy-table.ts';

const IPA = 0x4020_0000;
const HOST = 0x8000_0000;

describe('a page', () => {
  test.each([
    ['4K', 2, 32, 12],
    ['4K', 3, 40, 12],
    ['4K', 4, 48, 12],
    ['16K', 2, 36, 14],
    ['16K', 3, 42, 14],
    ['16K', 4, 52, 14],
    ['64K', 2, 42, 16],
    ['64K', 3, 48, 16],
  ])(
    'of %s over %d levels: a load for each, tables from the cache',
    (_, levels, ipaBits, shift) => {
      const table = new LegacyTable({ shift, ipaBits, features: { paBits: 52 } });
      const last = 2 ** ipaBits - table.page;
      const request = { ipa: last, cache: table.cache, logging: false, isIoremap: false };
      const leaf = table.leafOf(3, table.page);
      const { loads } = table.eventsOf(() => setPte(table.pgt, { ...request, leaf }));
      expect([loads, table.cache.taken]).toEqual([levels, levels - 1]);
      expect(table.leaves()).toEqual([{ addr: last, level: 3, value: leaf.toBigInt() }]);
      expect(table.logged()).toEqual([]);
    },
  );

  test('beyond the IPA space is a bug', () => {
    expect(() => new LegacyTable().setPte(2 ** 40, HOST)).toThrow('no entry of 10000000000');
  });

  test('each store is followed by a DSB ISHST', () => {
    const table = new LegacyTable();
    const request = { ipa: IPA, cache: table.cache, logging: false, isIoremap: false };
    const set = (phys: number): readonly string[] =>
      table.eventsOf(() => setPte(table.pgt, { ...request, leaf: table.leafOf(3, phys) })).order;
    const twice = ['set', 'publish', 'set', 'publish'];
    expect(set(HOST)).toEqual([...twice, 'set', 'publish']);
    expect(set(HOST + PAGE)).toEqual(['clear', 'publish', 'tlbi', 'set', 'publish']);
    expect(set(HOST + PAGE)).toEqual([]);
  });

  test('over another one is broken first: empty at the TLBI, and the reference stays', () => {
    const table = new LegacyTable();
    table.setPte(IPA, HOST);
    table.ops.onFlush = () => ` leaves ${table.contents().leaves.length}`;
    expect(table.setPte(IPA, HOST, RO)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3 leaves 0']);
    expect(table.words()).toEqual(['3 40200000 -> 80000000 r--']);
  });

  test('without a cache: over what is there, or nowhere', () => {
    const table = new LegacyTable();
    const cache = null;
    expect(table.setPte(IPA, HOST, RO, { cache })).toBe('ok');
    expect([table.leaves(), table.inUse()]).toEqual([[], 2]);
    table.setPte(IPA, HOST);
    expect(table.setPte(IPA, HOST + PAGE, RO, { cache })).toBe('ok');
    expect(table.setPte(IPA + M2, HOST, RO, { cache })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80001000 r--']);
  });

  test.each([32, 40, 48])(
    'without a cache ends at the first missing table, of %d bits',
    (ipaBits) => {
      const table = new LegacyTable({ ipaBits });
      const request = { ipa: IPA, cache: null, logging: false, isIoremap: false };
      const leaf = table.leafOf(3, HOST);
      const seen = table.machine.alone(function* () {
        yield* setPte(table.pgt, { ...request, leaf });
      });
      expect(countOf(seen, EventKind.load64)).toBe(1);
    },
  );

  test('with a cache that runs dry is a bug', () => {
    const table = new LegacyTable({ cachePages: 1 });
    expect(() => table.setPte(IPA, HOST)).toThrow('setPte: the cache ran dry');
  });

  test('of an ioremap over a valid one: -EFAULT, and it stays', () => {
    const table = new LegacyTable();
    expect(table.setPte(IPA, HOST, RO, { isIoremap: true })).toBe('ok');
    expect(table.setPte(IPA, HOST, RO, { isIoremap: true })).toBe('fault');
    expect(table.setPte(IPA, HOST + PAGE, RO, { isIoremap: true })).toBe('fault');
    expect(table.logged()).toEqual([]);
    expect(table.words()).toEqual(['3 40200000 -> 80000000 r--']);
  });

  test.each([
    [1, G1, 2],
    [2, M2, 1],
  ] as const)('dissolves a block of level %d while logging', (level, size, tables) => {
    const table = new LegacyTable();
    table.setHuge(3 * G1, level, 5 * G1);
    const before = table.cache.taken;
    table.logged();
    const ipa = 3 * G1 + size - PAGE;
    expect(() => table.setPte(ipa, HOST)).toThrow(`a block of level ${level} in the way`);
    expect(table.setPte(ipa, HOST, RO, { logging: true })).toBe('ok');
    expect(table.logged()).toEqual([`tlbi ${ipa.toString(16)} hint ${level}`]);
    expect(table.words()).toEqual([`3 ${ipa.toString(16)} -> 80000000 r--`]);
    expect(table.cache.taken - before).toBe(tables);
  });
});
