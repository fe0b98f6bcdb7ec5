import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Barrier, drive } from '../../src/engine/explore.ts';
import { GEOMETRY_4K, Geometry } from '../../src/machine/geometry.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import { hypDestroy, hypInit, hypMap, hypUnmap } from '../../src/pgtable/hyp.ts';
import { HYP_PROT, hypAttributes } from '../../src/pgtable/hyp-prot.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { TinyMachine, must } from '../support/tiny-machine.ts';
import { El2Ops, GRANULES, HypTable, barriersOf } from './hyp-helpers.ts';

const PAGE = 0x1000;
const M2 = 0x20_0000;
const OK = { outcome: 'ok', kept: 0 };

describe('birth and death', () => {
  test('no memory for the root', () => {
    const machine = new TinyMachine();
    const ops = new El2Ops(machine.main.memory.tables, 0);
    expect(drive(hypInit(new Geometry(12), 39, ops))).toBe('noMemory');
  });

  test.each([
    [12, 49],
    [12, 12],
    [16, 16],
  ])('page shift %i has no level for %i bits', (shift, vaBits) => {
    const machine = new TinyMachine();
    const ops = new El2Ops(machine.main.memory.tables, 1);
    expect(drive(hypInit(new Geometry(shift), vaBits, ops))).toBe('invalid');
    expect(ops.left).toBe(1);
  });

  test('the smallest table is its root, of pages only', () => {
    const table = new HypTable({ vaBits: 21 });
    expect(table.pgt.startLevel).toBe(3);
    expect(table.map(M2 - PAGE, PAGE, PAGE)).toEqual(OK);
    expect(table.words()).toEqual(['3 1ff000 -> 1000']);
    expect(table.unmap(M2 - PAGE, PAGE)).toBe(PAGE);
    expect(table.inUse()).toBe(1);
  });

  test('destroy returns every page at once, without a TLBI', () => {
    const table = new HypTable();
    table.map(0, PAGE, PAGE);
    table.map(2 ** 40 - PAGE, 2 * PAGE, 0);
    table.map(2 ** 47, M2, M2);
    expect(table.inUse()).toBeGreaterThan(6);
    drive(hypDestroy(table.pgt));
    expect(table.inUse()).toBe(0);
    expect(table.ops.log).toEqual([]);
  });
});

describe('map', () => {
  test.each(GRANULES)('$name: the largest leaves that fit', ({ shift, block }) => {
    const table = new HypTable({ shift });
    const page = 2 ** shift;
    expect(table.map(4 * block - page, block + 2 * page, 8 * block - page)).toEqual(OK);
    expect(table.leaves().map(({ va, level }) => [va, level])).toEqual([
      [4 * block - page, 3],
      [4 * block, 2],
      [5 * block, 3],
    ]);
  });

  test('the address is rounded down to a page', () => {
    const table = new HypTable();
    table.map(0x1234, 1, 0x5678);
    expect(table.words()).toEqual(['3 1000 -> 5000']);
  });

  test('without alignment of the address there are pages only', () => {
    const table = new HypTable();
    expect(table.map(M2, M2, PAGE)).toEqual(OK);
    expect(table.leaves()).toHaveLength(512);
    expect(new Set(table.leaves().map(({ level }) => level))).toEqual(new Set([3]));
  });

  test('nor of the virtual address', () => {
    const table = new HypTable();
    expect(table.map(PAGE, 2 * M2, 0)).toEqual(OK);
    expect(table.leaves()).toHaveLength(1024);
    expect(new Set(table.leaves().map(({ level }) => level))).toEqual(new Set([3]));
  });

  test.each([
    ['4K', 12, 2 ** 39, 1],
    ['16K', 14, 2 ** 36, 2],
    ['64K', 16, 2 ** 42, 2],
  ])('%s: no block larger than KVM uses', (_name, shift, size, level) => {
    const table = new HypTable({ shift });
    expect(table.map(0, size, 0)).toEqual(OK);
    expect(new Set(table.leaves().map((leaf) => leaf.level))).toEqual(new Set([level]));
  });

  test('the same again is silent', () => {
    const table = new HypTable();
    table.map(0, 2 * PAGE, PAGE);
    const pages = table.inUse();
    expect(table.map(0, 2 * PAGE, PAGE)).toEqual(OK);
    expect(table.words()).toEqual(['3 0 -> 1000', '3 1000 -> 2000']);
    expect(table.inUse()).toBe(pages);
  });

  test.each([
    ['another address', 0x9000, HYP_PROT.data],
    ['another protection', 0x2000, HYP_PROT.readOnly],
  ])('%s: the valid leaf is kept and the walk carries on', (_name, phys, prot) => {
    const table = new HypTable();
    table.map(PAGE, PAGE, 0x2000);
    const [before] = table.leaves();
    expect(table.map(0, 3 * PAGE, phys - PAGE, prot)).toEqual({ outcome: 'ok', kept: 1 });
    expect(table.leaves()[1]).toEqual(before);
    expect(table.words()[2]).toBe(`3 2000 -> ${(phys + PAGE).toString(16)}`);
    expect(table.ops.log).toEqual([]);
  });

  test('a block over a table fills the holes of the table', () => {
    const table = new HypTable();
    table.map(PAGE, PAGE, 0);
    expect(table.map(0, M2, 0)).toEqual({ outcome: 'ok', kept: 1 });
    expect(table.leaves()).toHaveLength(512);
  });

  test('a table over a block is a bug of the caller', () => {
    const table = new HypTable();
    table.map(0, M2, 0);
    expect(() => table.map(PAGE, PAGE, PAGE)).toThrow('a table over a valid block');
    expect(table.words()).toEqual(['2 0 -> 0']);
  });

  test('runs out of pages: what was mapped stays, with its references', () => {
    const table = new HypTable({ pages: 4 });
    expect(table.map(M2 - PAGE, 2 * PAGE, 0)).toEqual({ outcome: 'noMemory', kept: 0 });
    expect(table.words()).toEqual(['3 1ff000 -> 0']);
  });

  test('the last page of the address space', () => {
    const table = new HypTable({ vaBits: 39 });
    expect(table.map(2 ** 39 - PAGE, PAGE, 0)).toEqual(OK);
    expect(table.map(2 ** 39 - PAGE, 2 * PAGE, 0)).toEqual({ outcome: 'outOfRange', kept: 0 });
  });

  test('a refused protection makes no walk, no store and no barrier', () => {
    const table = new HypTable();
    const refused = (): ReturnType<typeof hypMap> => table.mapping(0, PAGE, 0, Prot.w);
    expect(drive(refused())).toEqual({ outcome: 'invalid', kept: 0 });
    expect(barriersOf(table.machine, refused)).toEqual([]);
    expect(table.inUse()).toBe(1);
  });
});

describe('unmap', () => {
  test('each leaf by its level, then the empty tables without a hint', () => {
    const table = new HypTable({ vaBits: 39 });
    table.map(M2 - PAGE, M2 + PAGE, M2 - PAGE);
    expect(table.unmap(M2 - PAGE, M2 + PAGE)).toBe(M2 + PAGE);
    expect(table.ops.log).toEqual([
      'vale2is 1ff000 level 3',
      'vae2is 1ff000',
      'vale2is 200000 level 2',
      'vae2is 1ff000',
    ]);
    expect(table.inUse()).toBe(1);
  });

  test('stops at a hole; what comes behind it stays', () => {
    const table = new HypTable();
    table.map(0, PAGE, 0);
    table.map(2 * PAGE, PAGE, 0);
    expect(table.unmap(0, 3 * PAGE)).toBe(PAGE);
    expect(table.words()).toEqual(['3 2000 -> 0']);
  });

  test.each([
    ['begins in a block', PAGE, M2],
    ['ends in a block', 0, M2 - PAGE],
    ['ends in a block that is not the first', M2, M2 - PAGE],
  ])('stops where the range %s', (_name, va, size) => {
    const table = new HypTable();
    table.map(0, 2 * M2, 0);
    expect(table.unmap(va, size)).toBe(0);
    expect(table.words()).toEqual(['2 0 -> 0', '2 200000 -> 200000']);
    expect(table.ops.log).toEqual([]);
  });

  test('beyond the address space there is nothing', () => {
    expect(new HypTable({ vaBits: 39 }).unmap(2 ** 39, PAGE)).toBe(0);
  });

  test('a TLBI is complete before the page may be used again', () => {
    const table = new HypTable();
    table.map(0, PAGE, 0);
    const barriers = barriersOf(table.machine, () => hypUnmap(table.pgt, 0, PAGE));
    expect(barriers.length).toBe(table.ops.log.length);
    expect(new Set(barriers)).toEqual(new Set([Barrier.dsbIsh]));
  });

  test('what is unmapped can be mapped to something else', () => {
    const table = new HypTable();
    table.map(0, 2 * PAGE, 0);
    expect(table.unmap(0, PAGE)).toBe(PAGE);
    expect(table.map(0, PAGE, M2, HYP_PROT.exec)).toEqual(OK);
    expect(table.words()).toEqual(['3 0 -> 200000', '3 1000 -> 1000']);
  });
});

describe.each(GRANULES)('$name', ({ shift, block }) => {
  const page = 2 ** shift;
  const step = fc.record({
    isMap: fc.boolean(),
    va: fc.integer({ min: -6, max: 6 }).map((i) => block + i * page),
    pages: fc.integer({ min: 1, max: 8 }),
    phys: fc.constantFrom(0, page),
  });

  test('holds what a model of pages holds, and returns every page', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
        const table = new HypTable({ shift });
        const model = new Map<number, number>();
        for (const { isMap, va, pages, phys } of steps) {
          const size = pages * page;
          if (isMap) mustEqual(table.map(va, size, va + phys).kept, add(model, va, size, phys));
          else mustEqual(table.unmap(va, size), remove(model, va, size));
        }
        const found = table
          .leaves()
          .map(({ va, value }) => [va, Number(value & 0xffff_ffff_f000n)]);
        expect(found).toEqual([...model].toSorted(([a], [b]) => a - b));
        drive(hypDestroy(table.pgt));
        expect(table.inUse()).toBe(0);
      }),
      { seed: 3, numRuns: 15 },
    );
  });

  /** Gives how many pages differed and were kept. */
  function add(model: Map<number, number>, from: number, size: number, phys: number): number {
    let kept = 0;
    for (let va = from; va < from + size; va += page) {
      const old = model.get(va);
      if (old === undefined) model.set(va, va + phys);
      else if (old !== va + phys) kept++;
    }
    return kept;
  }

  /** Gives the bytes up to the first hole. */
  function remove(model: Map<number, number>, from: number, size: number): number {
    let va = from;
    while (va < from + size && model.delete(va)) va += page;
    return va - from;
  }
});

function mustEqual(found: number, expected: number): void {
  must(found === expected, `${found} for ${expected}`);
}

describe('protections', () => {
  test('with LPA2 the address has the bits of SH', () => {
    const table = new HypTable({ shift: 14, vaBits: 48, lpa2: true });
    const phys = 0xc_4000_0000_4000;
    expect(table.map(0x4000, 0x4000, phys)).toEqual(OK);
    const leaf = drive(getLeaf(table.pgt, 0x4000));
    if (typeof leaf === 'string') throw new Error(leaf);
    expect(leaf.entry.toBigInt().toString(16)).toBe('40400000004743');
    expect(leaf.entry.address(table.pgt.geometry)).toBe(phys);
  });

  test('every combination that is refused, and no other', () => {
    const all = Array.from({ length: 16 }, (_, prot) => prot);
    const { r, w, x, device } = Prot;
    expect(all.filter((prot) => hypAttributes(prot, GEOMETRY_4K) !== null)).toEqual(
      [r, r | x, r | w, r | device, r | w | device].toSorted((a, b) => a - b),
    );
  });
});
