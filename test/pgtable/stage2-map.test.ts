import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import type { Phys } from '../../src/machine/address.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;
const PAGE_RW = 0x0040_0000_0000_07ffn;

/** Says at each TLBI what the entry of the address is then. */
function watch(table: TestTable, address?: number): void {
  table.ops.onFlush = (ipa) => {
    const { level, value } = table.lookup(address ?? ipa);
    return `, ${(value & 1n) === 0n ? 'invalid' : 'valid'} at level ${level}`;
  };
}

describe('a page', () => {
  test('in an empty table brings its tables, one reference each', () => {
    const table = new TestTable();
    expect(table.map(AT, PAGE, PA)).toBe('ok');
    expect(table.leaves()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.lookup(AT).value).toBe(BigInt(PA) | PAGE_RW);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    expect(table.cache.taken).toBe(2);
    expect(table.logged()).toEqual(['publish']);
    expect(table.checkPages()).toBe(4);
  });

  test('stores release, top down; each table is zero when its pointer is stored', () => {
    const table = new TestTable();
    const stores = table.storesOf(() =>
      stage2Map(table.pgt, {
        ipa: AT,
        size: PAGE,
        phys: PA as Phys,
        prot: RW,
        cache: table.cache,
      }),
    );
    expect(stores.map(({ isRelease }) => isRelease)).toEqual([true, true, true]);
    expect(stores.map(({ value }) => value & 3n)).toEqual([3n, 3n, 3n]);
    expect(stores[0]?.value).toBe(table.machine.entry(table.pgt.pgd, 1));
    expect(stores[2]?.value).toBe(BigInt(PA) | PAGE_RW);
  });

  test('mapped again the same is left alone', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.logged();
    const request = { ipa: AT, size: PAGE, phys: PA as Phys, prot: RW, cache: null };
    expect(table.storesOf(() => stage2Map(table.pgt, request))).toEqual([]);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    expect(table.logged()).toEqual(['publish']);
    table.checkPages();
  });

  test.each([
    ['other permissions', PA, RO, '3 40200000 -> 80000000 r--'],
    ['another page', PA + PAGE, RW, '3 40200000 -> 80001000 rw-'],
  ])('mapped again with %s is broken before it is made', (_what, phys, prot, leaf) => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.logged();
    watch(table);
    const request = { ipa: AT, size: PAGE, phys: phys as Phys, prot, cache: null };
    const stores = table.storesOf(() => stage2Map(table.pgt, request));
    expect(stores.map(({ value }) => value)).toEqual([
      (BigInt(PA) | PAGE_RW) & ~1n,
      table.lookup(AT).value,
    ]);
    expect(stores[1]?.isRelease).toBe(true);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3, invalid at level 3', 'publish']);
    expect(table.leaves()).toEqual([leaf]);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    table.checkPages();
  });

  test('over a stale entry needs no TLBI, and counts again', () => {
    const table = new TestTable();
    table.map(AT, 2 * PAGE, PA);
    table.unmap(AT, PAGE);
    expect(table.lookup(AT).value).toBe((BigInt(PA) | PAGE_RW) & ~1n);
    table.logged();
    table.map(AT, PAGE, PA);
    expect(table.logged()).toEqual(['publish']);
    expect(table.counts(AT)).toEqual([2, 2, 3]);
  });

  test('is the page of an address inside: both addresses are rounded down', () => {
    const table = new TestTable();
    table.map(AT + 0x123, 1, PA + 0xc56);
    expect(table.lookup(AT).value).toBe(BigInt(PA) | PAGE_RW);
    expect(table.leaves()).toEqual(['3 40200000 -> 80000000 rw-']);
  });

  test.each([
    ['R', Prot.r, 'r--'],
    ['W', Prot.w, '-w-'],
    ['RX', Prot.r | Prot.x, 'r-x'],
    ['device RW', RW | Prot.device, 'rw-'],
  ])('%s is encoded so', (_what, prot, allowed) => {
    const table = new TestTable();
    expect(table.map(AT, PAGE, PA, prot)).toBe('ok');
    expect(table.leaves()).toEqual([`3 40200000 -> 80000000 ${allowed}`]);
    expect((table.lookup(AT).value >> 2n) & 0xfn).toBe((prot & Prot.device) !== 0 ? 1n : 0xfn);
  });
});

describe('a range', () => {
  test('becomes the largest leaves that fit', () => {
    const table = new TestTable();
    expect(table.map(0x1f_f000, 0x40_2000, 0x801f_f000)).toBe('ok');
    expect(table.leaves()).toEqual([
      '3 1ff000 -> 801ff000 rw-',
      '2 200000 -> 80200000 rw-',
      '2 400000 -> 80400000 rw-',
      '3 600000 -> 80600000 rw-',
    ]);
    expect(table.logged()).toEqual(['publish']);
    table.checkPages();
  });

  test.each([
    ['1G aligned', G1, G1, 2 * G1, { 1: 1 }],
    ['1G and a page', G1, G1 + PAGE, 2 * G1, { 1: 1, 3: 1 }],
    ['a page less than 1G', G1, G1 - PAGE, 2 * G1, { 2: 511, 3: 511 }],
    ['1G with a PA aligned to 2M', G1, G1, 2 * G1 + M2, { 2: 512 }],
    ['2M with a PA aligned to a page', AT, M2, PA + PAGE, { 3: 512 }],
    ['2M with an IPA aligned to a page', AT + PAGE, M2, PA + PAGE, { 3: 512 }],
    ['a page less than 2M', AT, M2 - PAGE, PA, { 3: 511 }],
  ])('of %s has leaves by level', (_what, ipa, size, phys, leaves) => {
    const table = new TestTable();
    expect(table.map(ipa, size, phys)).toBe('ok');
    const found: Record<number, number> = {};
    let next = { ipa, phys };
    for (const { addr, level, value } of table.contents().leaves) {
      found[level] = (found[level] ?? 0) + 1;
      expect([addr, Number(value & 0xffff_ffff_f000n)]).toEqual([next.ipa, next.phys]);
      const bytes = [0, G1, M2, PAGE][level] as number;
      next = { ipa: next.ipa + bytes, phys: next.phys + bytes };
    }
    expect(found).toEqual(leaves);
    expect(next.ipa).toBe(ipa + size);
    table.checkPages();
  });

  test('of 1G in a table of two levels is 512 blocks', () => {
    const table = new TestTable({ ipaBits: 32 });
    expect(table.map(G1, G1, 2 * G1)).toBe('ok');
    const { leaves } = table.contents();
    expect(leaves).toHaveLength(512);
    expect(new Set(leaves.map(({ level }) => level))).toEqual(new Set([2]));
    expect(table.cache.taken).toBe(0);
  });

  test('has no block at level 0', () => {
    const table = new TestTable({ ipaBits: 48 });
    expect(table.map(2 ** 39, 2 ** 39, 2 ** 40)).toBe('ok');
    const { leaves } = table.contents();
    expect(leaves).toHaveLength(512);
    expect(leaves[511]).toMatchObject({ level: 1, addr: 2 ** 40 - G1 });
  });

  test('above 4 GiB with bit 31 set maps what it says', () => {
    const table = new TestTable();
    table.map(0xff_8000_0000, M2 + PAGE, 0x1f_8000_0000);
    expect(table.leaves()).toEqual([
      '2 ff80000000 -> 1f80000000 rw-',
      '3 ff80200000 -> 1f80200000 rw-',
    ]);
  });
});

describe('a block in the way of a page', () => {
  test('is dissolved: a table, the page, and the rest faults back', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    expect([table.counts(AT), table.cache.taken]).toEqual([[2, 2], 1]);
    table.logged();
    watch(table);
    expect(table.map(AT + 3 * PAGE, PAGE, PA + 3 * PAGE)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40203000 hint 2, invalid at level 2', 'publish']);
    expect(table.leaves()).toEqual(['3 40203000 -> 80003000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    expect(table.cache.taken).toBe(2);
    table.checkPages();
  });

  test('of 1G is dissolved level by level', () => {
    const table = new TestTable();
    table.map(G1, G1, 2 * G1);
    table.logged();
    table.map(AT, PAGE, PA);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 1', 'publish']);
    expect(table.leaves()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
    table.checkPages();
  });

  test('stays when there is no page for the table', () => {
    const table = new TestTable({ cachePages: 1 });
    table.map(AT, M2, PA);
    table.logged();
    expect(table.map(AT, PAGE, PA)).toBe('noMemory');
    expect(table.logged()).toEqual(['publish']);
    expect(table.leaves()).toEqual(['2 40200000 -> 80000000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2]);
  });

  test('of another place is broken and made with the hint of its level', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    table.logged();
    watch(table);
    table.map(AT, M2, PA + M2);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 2, invalid at level 2', 'publish']);
    expect(table.leaves()).toEqual(['2 40200000 -> 80200000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2]);
  });
});

describe('a table in the way of a block', () => {
  test('is collapsed: broken, the VMID flushed, its pages freed, the block stored', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.logged();
    const [before] = [table.machine.entry(table.pgt.pgd, 1)];
    const tableTwo = Number(before & 0xffff_ffff_f000n);
    const pointer = table.machine.entry(tableTwo, 1);
    watch(table, AT);
    const request = { ipa: AT, size: M2, phys: PA as Phys, prot: RW, cache: table.cache };
    const stores = table.storesOf(() => stage2Map(table.pgt, request));
    // The anchor keeps its address while it is broken; nothing is stored into the doomed table.
    expect(stores.map(({ value }) => value)).toEqual([pointer & ~1n, (BigInt(PA) | PAGE_RW) & ~2n]);
    expect(table.logged()).toEqual(['tlbi vmid, invalid at level 2', 'publish']);
    expect(table.leaves()).toEqual(['2 40200000 -> 80000000 rw-']);
    expect(table.counts(AT)).toEqual([2, 2]);
    expect(table.cache.taken).toBe(2);
    expect(table.checkPages()).toBe(3);
  });

  test('is freed only after the flush', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.logged();
    table.ops.onFlush = () => `, ${table.zone.accounts().free} free`;
    table.map(AT, M2, PA);
    expect(table.logged()).toEqual(['tlbi vmid, 0 free', 'publish']);
    expect(table.zone.accounts().free).toBe(1);
  });

  test('goes with the tables below it, in one flush', () => {
    const table = new TestTable();
    for (const at of [AT, AT + PAGE, AT + 511 * PAGE, AT + 5 * M2]) table.map(at, PAGE, PA);
    table.map(AT + M2, M2, PA);
    expect(table.checkPages()).toBe(5);
    table.logged();
    expect(table.map(G1, G1, 2 * G1)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi vmid', 'publish']);
    expect(table.leaves()).toEqual(['1 40000000 -> 80000000 rw-']);
    expect(table.counts(G1)).toEqual([2]);
    expect(table.checkPages()).toBe(2);
  });

  test('twice in one range is collapsed twice, and the range goes on behind it', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.map(AT + M2, 4 * PAGE, PA);
    table.map(AT + 2 * M2, PAGE, PA);
    table.logged();
    expect(table.map(AT - PAGE, 2 * M2 + 2 * PAGE, 0x9000_0000 - PAGE)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi vmid', 'tlbi vmid', 'tlbi 40600000 hint 3', 'publish']);
    expect(table.leaves()).toEqual([
      '3 401ff000 -> 8ffff000 rw-',
      '2 40200000 -> 90000000 rw-',
      '2 40400000 -> 90200000 rw-',
      '3 40600000 -> 90400000 rw-',
    ]);
    table.checkPages();
  });

  test.each([
    ['part of the block is asked for', AT, M2 - PAGE, PA],
    ['the PA is not aligned', AT, M2, PA + PAGE],
  ])('stays when %s', (_what, ipa, size, phys) => {
    const table = new TestTable();
    table.map(AT, PAGE, PA - PAGE);
    table.logged();
    table.map(ipa, size, phys);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3', 'publish']);
    expect(table.contents().leaves).toHaveLength(size / PAGE);
    table.checkPages();
  });

  test('with no leaf in it is collapsed too', () => {
    const table = new TestTable({ cachePages: 1 });
    expect(table.map(AT, PAGE, PA)).toBe('noMemory');
    expect(table.counts(AT)).toEqual([2, 1]);
    table.logged();
    expect(table.map(G1, G1, 2 * G1)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi vmid', 'publish']);
    expect(table.checkPages()).toBe(2);
  });
});

describe('without memory', () => {
  test('earlier leaves stay', () => {
    const table = new TestTable({ cachePages: 2 });
    expect(table.map(AT - PAGE, 2 * PAGE, PA)).toBe('noMemory');
    expect(table.leaves()).toEqual(['3 401ff000 -> 80000000 rw-']);
    expect(table.logged()).toEqual(['publish']);
    table.checkPages();
  });

  test('an empty table stays, with the reference it was born with', () => {
    const table = new TestTable({ cachePages: 1 });
    expect(table.map(AT, PAGE, PA)).toBe('noMemory');
    expect(table.leaves()).toEqual([]);
    expect(table.counts(AT)).toEqual([2, 1]);
    expect(table.checkPages()).toBe(3);
  });

  test('a mapping that needs no table succeeds', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    const request = { ipa: AT + PAGE, size: PAGE, phys: PA as Phys, prot: RW, cache: null };
    expect(drive(stage2Map(table.pgt, request))).toBe('ok');
    const next = { ...request, ipa: AT + M2 };
    expect(drive(stage2Map(table.pgt, next))).toBe('noMemory');
    expect(table.contents().leaves).toHaveLength(2);
    table.checkPages();
  });
});

describe('refused', () => {
  test.each([Prot.r, RW, Prot.w])('executable device memory, %d: no walk, no barrier', (prot) => {
    const table = new TestTable();
    expect(table.map(AT, PAGE, PA, prot | Prot.device | Prot.x)).toBe('invalid');
    expect(table.ops.log).toEqual([]);
    expect(table.leaves()).toEqual([]);
  });

  test('a range beyond the input size, with the barrier', () => {
    const table = new TestTable();
    expect(table.map(2 ** 40 - PAGE, 2 * PAGE, PA)).toBe('outOfRange');
    expect(table.ops.log).toEqual(['publish']);
    expect(table.leaves()).toEqual([]);
  });
});
