/** What the legacy code does to ranges and to single leaves in place: unmap, destroy, write-protect, flush, age. */
import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import { legacyFlush } from '../../../src/pgtable/legacy/flush.ts';
import { legacyAge, legacyMkyoung, legacyTestAge } from '../../../src/pgtable/legacy/leaf.ts';
import { legacyDestroy, legacyFreePgd } from '../../../src/pgtable/legacy/unmap.ts';
import { legacyWrprotect } from '../../../src/pgtable/legacy/wrprotect.ts';
import { NO_PGD } from '../../../src/pgtable/pgtable.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW } from '../helpers.ts';
import { LegacyTable, type LegacyOptions } from './legacy-table.ts';

const IPA = 0x4020_0000;
const HOST = 0x8000_0000;
const DEVICE = RW | Prot.device;

/** A page, a device page, a block of 2 MiB and one of 1 GiB. */
function populated(options: LegacyOptions = {}): LegacyTable {
  const table = new LegacyTable(options);
  table.setPte(IPA, HOST);
  table.setPte(IPA + PAGE, HOST, DEVICE);
  table.setHuge(IPA + M2, 2, 2 * HOST);
  table.setHuge(2 * G1, 1, 4 * G1);
  table.logged();
  return table;
}

const ALL = { ipa: IPA, size: 2 * G1 };

describe('unmap', () => {
  test('takes leaves with their level, tables without; cleans what is cacheable before the page is given back', () => {
    const table = populated();
    table.unmap(ALL.ipa, ALL.size);
    expect(table.ops.log.filter((line) => line === 'begin')).toHaveLength(1);
    expect(table.logged()).toEqual([
      'tlbi 40200000 hint 3',
      'clean 80000000 1000',
      'tlbi 40201000 hint 3',
      'tlbi 40200000 hint 0',
      'tlbi 40400000 hint 2',
      'clean 100000000 200000',
      'tlbi 40200000 hint 0',
      'tlbi 80000000 hint 1',
      'clean 100000000 40000000',
    ]);
    expect([table.leaves(), table.inUse()]).toEqual([[], 2]);
  });

  test('cleans nothing with FWB', () => {
    const table = populated({ features: { fwb: true } });
    table.unmap(ALL.ipa, ALL.size);
    expect(table.logged().filter((line) => line.startsWith('clean'))).toEqual([]);
  });

  test('of a page of a block takes the block', () => {
    const table = populated();
    table.unmap(IPA + M2 + PAGE, PAGE);
    expect(table.logged()).toEqual(['tlbi 40401000 hint 2', 'clean 100000000 200000']);
    expect(table.words()).toHaveLength(3);
  });

  test('ends where the range ends', () => {
    const table = new LegacyTable();
    for (let page = 0; page < 4; page++) table.setPte(IPA + page * PAGE, HOST);
    table.unmap(IPA + PAGE, 2 * PAGE);
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-', '3 40203000 -> 80000000 rw-']);
  });

  test('across root pages and entries of every level', () => {
    const table = new LegacyTable({ ipaBits: 32 });
    const ends = [G1 - PAGE, G1, 2 * G1 - PAGE, 2 * G1];
    for (const ipa of ends) table.setPte(ipa, HOST);
    table.unmap(G1 - PAGE, G1 + PAGE);
    expect(table.words()).toEqual(['3 80000000 -> 80000000 rw-']);
  });
});

describe('destroy', () => {
  test('is a TLBI for each entry, then the root is freed', () => {
    const table = populated();
    drive(legacyDestroy(table.pgt));
    expect(table.ops.log.filter((line) => line.startsWith('tlbi'))).toHaveLength(6);
    expect(table.inUse()).toBe(0);
  });

  test('comes in two halves where others look on: an empty table first, then none', () => {
    const table = populated();
    table.unmap(0, table.pgt.iaLimit);
    expect([table.leaves(), table.inUse()]).toEqual([[], 2]);
    table.ops.log.length = 0;
    drive(legacyFreePgd(table.pgt));
    expect([table.ops.log, table.inUse()]).toEqual([[], 0]);
  });

  test('of nothing is nothing', () => {
    const table = new LegacyTable();
    drive(legacyDestroy({ ...table.pgt, pgd: NO_PGD }));
    expect([table.ops.log, table.inUse()]).toEqual([[], 2]);
  });
});

describe('write-protection', () => {
  test('takes W from every leaf, R and X stay; no TLBI, and no store where there is no W', () => {
    const table = populated();
    table.setPte(IPA + 2 * PAGE, HOST, RO);
    const { order } = table.eventsOf(() => legacyWrprotect(table.pgt, ALL.ipa, ALL.size));
    expect(order).toEqual(Array.from({ length: 4 }, () => ['set', 'publish']).flat());
    expect(table.logged()).toEqual([]);
    expect(new Set(table.words().map((line) => line.slice(-3)))).toEqual(new Set(['r--']));
  });

  test('of a part protects the leaf that it touches', () => {
    const table = populated();
    drive(legacyWrprotect(table.pgt, IPA + M2 + PAGE, PAGE));
    expect(table.walks()).toBe(1);
    expect(table.words().map((line) => line.slice(-3))).toEqual(['rw-', 'rw-', 'r--', 'rw-']);
  });
});

describe('flush', () => {
  test('cleans the whole memory of what is cacheable, and changes nothing', () => {
    const table = populated();
    const { order } = table.eventsOf(() => legacyFlush(table.pgt, IPA, M2 + PAGE));
    expect(order).toEqual([]);
    expect(table.logged()).toEqual(['clean 80000000 1000', 'clean 100000000 200000']);
  });

  test('cleans nothing with FWB', () => {
    const table = populated({ features: { fwb: true } });
    drive(legacyFlush(table.pgt, ALL.ipa, ALL.size));
    // A walk, and nothing in it.
    expect(table.ops.log).toEqual(['begin', 'end']);
  });
});

describe('the access flag', () => {
  test.each([
    ['a page', IPA, '7ff', '3ff', 3],
    ['a block', IPA + M2 + PAGE, '7fd', '3fd', 2],
    ['a large block', 2 * G1 + PAGE, '7fd', '3fd', 1],
  ])('of %s is cleared, tested and set in place, one walk each', (_, ipa, young, old, loads) => {
    const table = populated();
    const low = (): string | undefined =>
      table
        .leaves()
        .find(({ addr, level }) => ipa >= addr && ipa < addr + table.sizeOf(level))
        ?.value.toString(16)
        .slice(-3);
    expect([drive(legacyTestAge(table.pgt, ipa)), low()]).toEqual([true, young]);
    expect(table.eventsOf(() => legacyAge(table.pgt, ipa))).toEqual({
      loads,
      order: ['set', 'publish'],
    });
    expect([drive(legacyTestAge(table.pgt, ipa)), low()]).toEqual([false, old]);
    expect(drive(legacyAge(table.pgt, ipa))).toBe(false);
    expect(drive(legacyMkyoung(table.pgt, ipa)).toBigInt().toString(16).slice(-3)).toBe(old);
    expect(drive(legacyAge(table.pgt, ipa))).toBe(true);
    expect(table.walks()).toBe(6);
  });

  test('is stored only where it changes', () => {
    const table = populated();
    expect(table.eventsOf(() => legacyMkyoung(table.pgt, IPA)).order).toEqual([]);
    drive(legacyAge(table.pgt, IPA));
    expect(table.eventsOf(() => legacyAge(table.pgt, IPA)).order).toEqual([]);
  });

  test('of nothing is not set, whatever there is no table for', () => {
    for (const ipaBits of [32, 40, 48]) {
      const table = new LegacyTable({ ipaBits });
      expect(drive(legacyMkyoung(table.pgt, G1)).toBigInt()).toBe(0n);
      expect(drive(legacyAge(table.pgt, G1))).toBe(false);
      expect(drive(legacyTestAge(table.pgt, G1))).toBe(false);
      expect(table.leaves()).toEqual([]);
    }
  });
});
