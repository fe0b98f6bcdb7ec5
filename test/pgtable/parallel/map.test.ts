import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { stage2Map, stage2SetOwner } from '../../../src/pgtable/parallel/map.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { WalkFlag } from '../../../src/pgtable/walker.ts';
import { G1, M2, PAGE, RO, RW } from '../helpers.ts';
import { FAULT, LOCKED, ParallelTable } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const page = { ipa: IPA, size: PAGE, phys: PHYS };
const block = { ipa: IPA, size: M2, phys: PHYS };

describe.each([
  ['exclusive', WalkFlag.handleFault],
  ['shared', FAULT],
])('%s: a map', (_what, flags) => {
  test('of a page takes two tables and one leaf', () => {
    const table = new ParallelTable();
    expect(table.map({ ...page, flags })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.cache.taken).toBe(2);
    const walked = ['begin', 'clean 80000000 1000', 'end'];
    const shared = ['shared', ...walked, 'no longer shared'];
    expect(table.ops.log).toEqual([...(flags === FAULT ? shared : walked), 'publish']);
  });

  test('makes the largest leaves that fit, each with its own address', () => {
    const table = new ParallelTable();
    expect(table.map({ ipa: IPA - PAGE, size: M2 + 2 * PAGE, phys: PHYS - PAGE, flags })).toBe(
      'ok',
    );
    expect(table.words()).toEqual([
      '3 401ff000 -> 7ffff000 rw-',
      '2 40200000 -> 80000000 rw-',
      '3 40400000 -> 80200000 rw-',
    ]);
    expect(new ParallelTable().map({ ipa: G1, size: G1, phys: 2 * G1, flags })).toBe('ok');
  });

  test.each([
    ['the same', RW],
    ['fewer permissions', RO],
    ['execution', RW | Prot.x],
    ['none', 0],
  ])('of what is mapped already, with %s, changes nothing and says again', (_prot, prot) => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    const before = table.entries();
    expect(table.map({ ...page, prot, flags })).toBe('again');
    expect(table.entries()).toEqual(before);
    expect(table.logged().filter((line) => !line.includes('shared'))).toEqual(['publish']);
  });

  test('passes over what is mapped already, unless for a fault', () => {
    const table = new ParallelTable();
    table.map({ ...page, ipa: IPA + PAGE, phys: PHYS + PAGE, prot: RO });
    const wide = { ...page, size: 3 * PAGE };
    expect(table.map({ ...wide, flags })).toBe('again');
    expect(table.words()).toHaveLength(2);
    expect(table.map({ ...wide, flags: flags & ~WalkFlag.handleFault })).toBe('ok');
    expect(table.words()).toEqual([
      '3 40200000 -> 80000000 rw-',
      '3 40201000 -> 80001000 r--',
      '3 40202000 -> 80002000 rw-',
    ]);
  });

  test('of other memory breaks the leaf: locked, TLBI with its level, then the new one', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    table.ops.onFlush = (ipa) => ` at ${table.lookup(ipa).value.toString(16)}`;
    expect(table.map({ ...page, phys: 2 * PHYS, flags })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 100000000 rw-']);
    expect(table.logged().filter((line) => !line.includes('shared'))).toEqual([
      'tlbi 40200000 hint 3 at 400',
      'clean 100000000 1000',
      'publish',
    ]);
  });

  test('of another memory type breaks the leaf too', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    expect(table.map({ ...page, prot: RW | Prot.device, flags })).toBe('ok');
    expect(table.logged()).toContain('tlbi 40200000 hint 3');
  });

  test('over a block dissolves it: the rest faults back', () => {
    const table = new ParallelTable();
    table.map(block);
    table.logged();
    const at = { ipa: IPA + 3 * PAGE, size: PAGE, phys: PHYS + 3 * PAGE };
    table.ops.onFlush = (ipa) => ` at ${table.lookup(ipa).value.toString(16)}`;
    expect(table.map({ ...at, flags })).toBe('ok');
    expect(table.words()).toEqual(['3 40203000 -> 80003000 rw-']);
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([
      'tlbi 40203000 hint 2 at 400',
    ]);
  });

  test('of a block over a table: its range flushed while locked, the block live before the table is given away', () => {
    const table = new ParallelTable();
    table.map({ ...page, ipa: IPA + 5 * PAGE });
    table.map({ ...page, ipa: IPA + 9 * PAGE });
    table.logged();
    table.ops.onFlush = () => ` at ${table.lookup(IPA).value.toString(16)}`;
    expect(table.map({ ...block, flags })).toBe('ok');
    expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
    expect(table.logged().filter((line) => !line.includes('shared'))).toEqual([
      'tlbi range 40200000 200000 at 400',
      'clean 80000000 200000',
      'unlinked level 2 at 400000800007fd',
      'publish',
    ]);
  });

  test('of a 1G block over tables frees all of them', () => {
    const table = new ParallelTable();
    for (const offset of [0, M2, 5 * M2 + PAGE]) table.map({ ...page, ipa: G1 + offset });
    expect(table.pagesInUse()).toBe(2 + 4);
    expect(table.map({ ipa: G1, size: G1, phys: 4 * G1, flags })).toBe('ok');
    expect(table.words()).toEqual(['1 40000000 -> 100000000 rw-']);
    expect(table.logged()).toContain('tlbi range 40000000 40000000');
  });

  test('of code invalidates the instruction cache after the memory is clean', () => {
    const table = new ParallelTable();
    table.map({ ...page, prot: RW | Prot.x, flags });
    expect(table.logged().filter((line) => !line.includes('shared'))).toEqual([
      'clean 80000000 1000',
      'icache 80000000 1000',
      'publish',
    ]);
  });

  test('without a page for a table keeps what it made', () => {
    const table = new ParallelTable({ cachePages: 2 });
    const wide = { ipa: IPA - PAGE, size: 2 * PAGE, phys: PHYS, flags };
    expect(table.map(wide)).toBe('noMemory');
    expect(table.words()).toEqual(['3 401ff000 -> 80000000 rw-']);
    expect(table.logged().at(-1)).toBe('publish');
  });

  test('that may not allocate, where a table is missing, maps nothing', () => {
    const { pgt, ...table } = new ParallelTable();
    const request = { ipa: IPA, size: PAGE, phys: PHYS as Phys, prot: RW, cache: null, flags };
    expect(drive(stage2Map(pgt, request))).toBe('noMemory');
    expect(table.cache.taken).toBe(0);
  });
});

describe('over a locked entry a map', () => {
  test('beside others says again and gives its page back', () => {
    const table = new ParallelTable();
    table.plant(IPA, LOCKED);
    const { free } = table.zone.accounts();
    expect(table.map({ ...page, flags: FAULT })).toBe('again');
    expect([table.cache.taken, table.zone.accounts().free - free]).toEqual([1, 1]);
    expect(table.map({ ipa: G1, size: G1, phys: G1, flags: FAULT })).toBe('again');
    const { value, at } = table.lookup(IPA);
    expect([value, drive(table.zone.countAt(at))]).toEqual([LOCKED, 1]);
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([]);
  });

  test('that has the table to itself is a bug', () => {
    const table = new ParallelTable();
    table.plant(IPA, LOCKED);
    expect(() => table.map(page)).toThrow('an exclusive walk met a locked entry');
  });
});

test('the entries of one map, in order: locked, counted, released', () => {
  const table = new ParallelTable();
  table.map(block);
  const { pgt, cache } = table;
  const view = table.view();
  const trace = (flags: number, phys: number): string[] =>
    table.trace(() => view.map({ ...block, phys, flags }));
  expect(pgt.startLevel).toBe(1);
  expect(cache.taken).toBe(1);
  const rest = ['barrier 2', 'count 1', 'barrier 0', 'count 2'];
  expect(trace(0, 4 * M2)).toEqual(['store 400', ...rest, 'release 400000008007fd', 'barrier 1']);
  expect(trace(FAULT, 6 * M2)).toEqual(['cas 400', ...rest, 'release 40000000c007fd', 'barrier 1']);
});

describe('software bits', () => {
  test('alone are stored in place by an exclusive map', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    expect(table.map({ ...page, prot: RW | Prot.sw1 })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw- sw 2']);
    expect(table.logged()).toEqual(['publish']);
    expect(table.map({ ...page, prot: RW | Prot.sw0 | Prot.sw3 })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw- sw 9']);
  });

  test('with permissions need a break', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    expect(table.map({ ...page, prot: RO | Prot.sw1 })).toBe('ok');
    expect(table.logged()).toContain('tlbi 40200000 hint 3');
  });

  test('need a break beside other walks', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    expect(table.map({ ...page, prot: RW | Prot.sw1, flags: FAULT })).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw- sw 2']);
    expect(table.logged()).toContain('tlbi 40200000 hint 3');
  });
});

describe('a map that is refused', () => {
  test('has no format for its protection', () => {
    const table = new ParallelTable();
    expect(table.map({ ...page, prot: RW | Prot.x | Prot.device })).toBe('invalid');
    expect(table.ops.log).toEqual([]);
  });

  test('is beyond the input addresses', () => {
    expect(new ParallelTable().map({ ...page, ipa: 2 ** 40 })).toBe('outOfRange');
  });

  test('shared, where there is no read section', () => {
    const table = new ParallelTable({ isPool: true });
    expect(table.map({ ...page, flags: FAULT })).toBe('notPermitted');
    expect(table.entries()).toEqual([]);
    expect(table.ops.log).toEqual(['publish']);
    expect(table.map(page)).toBe('ok');
    expect(table.map(block)).toBe('ok');
    expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
  });
});

test('with FWB no memory is cleaned', () => {
  const table = new ParallelTable({ features: { fwb: true } });
  table.map({ ...page, prot: RW | Prot.x });
  expect(table.logged()).toEqual(['icache 80000000 1000', 'publish']);
});

const own = (table: ParallelTable, owner: number, ipa = IPA, size = PAGE): string => {
  const { pgt, cache } = table;
  return drive(stage2SetOwner(pgt, { ipa, size, owner, cache }));
};

describe('an owner', () => {
  test('is noted page by page, and counted', () => {
    const table = new ParallelTable();
    expect(own(table, 1, IPA, 2 * PAGE)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 invalid 4', '3 40201000 invalid 4']);
    expect(table.logged()).toEqual([]);
  });

  test('of a whole block is noted in pages', () => {
    const table = new ParallelTable();
    table.map(block);
    table.logged();
    expect(own(table, 1, IPA, M2)).toBe('ok');
    expect(table.entries()).toHaveLength(512);
    expect(table.logged()).toEqual(['tlbi 40200000 hint 2']);
  });

  test('takes a mapped page; owner 0 leaves it empty', () => {
    const table = new ParallelTable();
    table.map(page);
    table.logged();
    expect(own(table, 1)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40200000 hint 3']);
    expect(own(table, 0)).toBe('ok');
    expect(table.entries()).toEqual([]);
    expect(own(table, 0)).toBe('ok');
    expect(table.logged()).toEqual([]);
  });

  test('gives way to a map', () => {
    const table = new ParallelTable();
    own(table, 1);
    expect(table.map(page)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.logged().filter((line) => line.startsWith('tlbi'))).toEqual([]);
  });

  test('is 0 or 1', () => {
    const table = new ParallelTable();
    expect(own(table, 2)).toBe('invalid');
    expect(table.ops.log).toEqual([]);
  });

  test('needs tables', () => {
    expect(own(new ParallelTable({ cachePages: 1 }), 1)).toBe('noMemory');
  });
});
