/** The legacy hypervisor tables: pages over whatever was there, one root or three (specification section 3.5, last paragraph). */
import { describe, expect, test, vi } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { Geometry } from '../../../src/machine/geometry.ts';
import { HYP_PROT } from '../../../src/pgtable/hyp-prot.ts';
import {
  httbr,
  legacyHypDestroy,
  legacyHypInit,
  type LegacyHypPgds,
} from '../../../src/pgtable/legacy/hyp-pgds.ts';
import { legacyHypFree, legacyHypMap, legacyHypTable } from '../../../src/pgtable/legacy/hyp.ts';
import type { Pgtable } from '../../../src/pgtable/pgtable.ts';
import { TinyMachine, descriptorLoads } from '../../support/tiny-machine.ts';
import { El2Ops, GRANULES, hypLeaves, oaOf } from '../hyp-helpers.ts';

const GIB = 2 ** 30;
const FRAMES = 16;

/** EL2's operations over 16 pages, and what stands in the tables. */
class Host {
  readonly machine: TinyMachine;
  readonly ops: El2Ops;
  readonly geometry: Geometry;
  readonly page: number;

  constructor(shift = 12, pages = FRAMES) {
    this.page = 2 ** shift;
    this.geometry = new Geometry(shift);
    this.machine = new TinyMachine({ tableFrames: FRAMES, tableBytes: this.page });
    this.ops = new El2Ops(this.machine.main.memory.tables, pages);
  }

  table(vaBits: number): Pgtable {
    const pgt = drive(legacyHypTable(this.geometry, vaBits, this.ops));
    if (pgt === 'noMemory') throw new Error(pgt);
    return pgt;
  }

  map(pgt: Pgtable, va: number, size: number, phys: number, prot: number = HYP_PROT.data): string {
    const request = { va, size, phys: phys as Phys, prot, pages: this.ops };
    return drive(legacyHypMap(pgt, request));
  }

  init(kernelVaBits: number, idmap: number): LegacyHypPgds | string {
    const { geometry, ops } = this;
    return drive(legacyHypInit({ geometry, kernelVaBits, idmap: idmap as Phys, ops, pages: ops }));
  }

  /** Leaves as words: `level va -> physical address`. */
  words(pgt: Pgtable): string[] {
    return hypLeaves(this.machine, pgt).map(
      ({ level, va, value }) => `${level} ${va.toString(16)} -> ${oaOf(value).toString(16)}`,
    );
  }

  inUse(): number {
    const { used, free } = this.machine.main.memory.tables.accounts();
    return used - free;
  }
}

function tablesOf(found: LegacyHypPgds | string): LegacyHypPgds {
  if (typeof found === 'string') throw new Error(found);
  return found;
}

describe('pages', () => {
  test.each(GRANULES)('$name: a block that would fit becomes pages', ({ shift, block }) => {
    const host = new Host(shift);
    const pgt = host.table(42);
    expect(host.map(pgt, block, block, 4 * block)).toBe('ok');
    const leaves = hypLeaves(host.machine, pgt);
    expect(new Set(leaves.map(({ level }) => level))).toEqual(new Set([3]));
    expect(leaves.map(({ va, value }) => oaOf(value) - va)).toEqual(
      Array.from({ length: block / host.page }, () => 3 * block),
    );
    drive(legacyHypFree(pgt));
    expect(host.inUse()).toBe(0);
  });

  test('cover what the range touches, from the page of its start', () => {
    const host = new Host();
    const pgt = host.table(39);
    expect(host.map(pgt, GIB - 1, 2, 2 * GIB - 1)).toBe('ok');
    expect(host.words(pgt)).toEqual(['3 3ffff000 -> 7ffff000', '3 40000000 -> 80000000']);
  });

  test('are written blindly: no look at the entry, no TLBI, and one more reference each time', () => {
    const host = new Host();
    const pgt = host.table(39);
    host.map(pgt, GIB, host.page, GIB);
    const request = { va: GIB, size: 1, phys: (2 * GIB) as Phys, prot: HYP_PROT.exec };
    const seen = host.machine.alone(function* () {
      yield* legacyHypMap(pgt, { ...request, pages: host.ops });
    });
    expect(descriptorLoads(host.machine, seen)).toBe(2);
    expect(host.ops.log).toEqual([]);
    // The reader checks counts: the table page has one too many.
    expect(() => host.words(pgt)).toThrow('3 references, 1 entries');
    drive(legacyHypFree(pgt));
    expect(host.inUse()).toBe(1);
  });

  test('are refused for a protection that is, and end with the memory for tables', () => {
    const host = new Host(12, 3);
    const pgt = host.table(39);
    expect(host.map(pgt, 0, 1, 0, HYP_PROT.data | HYP_PROT.exec)).toBe('invalid');
    expect(host.map(pgt, 2 ** 21 - 1, 2, 0)).toBe('noMemory');
    expect(host.words(pgt)).toEqual(['3 1ff000 -> 0']);
  });
});

test('each page mapped is a walk, and so is the end', () => {
  const host = new Host();
  const pgt = host.table(39);
  const begin = vi.spyOn(host.ops, 'walkBegin');
  const end = vi.spyOn(host.ops, 'walkEnd');
  host.map(pgt, 0, 3 * host.page, 0);
  expect([begin, end].map(({ mock }) => mock.calls.length)).toEqual([3, 3]);
  drive(legacyHypFree(pgt));
  expect([begin, end].map(({ mock }) => mock.calls.length)).toEqual([4, 4]);
});

test('a block in the way is a bug', () => {
  const host = new Host();
  const pgt = host.table(39);
  host.machine.plant(pgt.pgd, pgt.startLevel, GIB, 2, 0x4000_0000n | 0x401n);
  expect(() => host.map(pgt, GIB, host.page, GIB)).toThrow(
    'a block of level 2 in the way of a page',
  );
});

describe('roots', () => {
  test.each([
    ['4K', 39, 12, 0x8000_0000],
    ['16K', 47, 14, 2 ** 40],
    ['64K', 42, 16, 2 ** 41],
    ['64K, above the kernel range, where the root has room', 44, 16, 2 ** 47],
  ])('%s: one when the page is in reach of %d bits', (_, vaBits, shift, idmap) => {
    const host = new Host(shift);
    const tables = tablesOf(host.init(vaBits, idmap));
    const { runtime, boot, merged } = tables;
    expect([boot, merged, httbr(tables)]).toEqual([null, null, runtime.pgd]);
    expect(host.words(runtime)).toEqual([`3 ${idmap.toString(16)} -> ${idmap.toString(16)}`]);
    drive(legacyHypDestroy(tables));
    expect(host.inUse()).toBe(0);
  });

  test.each([
    ['4K', 39, 12, 2 ** 39 + 0x8000_0000, 0],
    ['4K', 39, 12, 2 ** 47 + 0x8000_0000, 0],
    ['4K, fewer bits than a whole root', 37, 12, 2 ** 40 + 2 ** 38, 0],
    ['16K', 36, 14, 2 ** 40, 1],
    ['64K', 42, 16, 2 ** 46, 1],
  ])('%s with %d bits: three when it takes a level more', (_, vaBits, shift, idmap, level) => {
    const host = new Host(shift);
    const tables = tablesOf(host.init(vaBits, idmap));
    const { runtime, boot, merged } = tables;
    if (boot === null || merged === null) throw new Error('one root');
    expect([merged.startLevel, runtime.startLevel, boot.startLevel]).toEqual([
      level,
      level + 1,
      level + 1,
    ]);
    expect(httbr(tables)).toBe(merged.pgd);
    expect(host.words(runtime)).toEqual([]);
    // From the merged root hardware finds the runtime table at address 0, and the page at its own address.
    const { machine } = host;
    expect(machine.entry(merged.pgd, 0)).toBe(BigInt(runtime.pgd) | 3n);
    const bytes = 2 ** ((4 - level) * (shift - 3) + 3);
    const index = Math.floor(idmap / bytes);
    expect(machine.entry(merged.pgd, index)).toBe(BigInt(boot.pgd) | 3n);
    const below = idmap - index * bytes;
    expect(host.words(boot)).toEqual([`3 ${below.toString(16)} -> ${idmap.toString(16)}`]);
    drive(legacyHypDestroy(tables));
    expect(host.inUse()).toBe(0);
  });

  test('are refused when one level more does not reach, or there is none', () => {
    expect(new Host(16).init(29, 2 ** 46)).toBe('invalid');
    expect(new Host(12).init(48, 2 ** 50)).toBe('invalid');
  });

  test.each([0, 1, 2, 3])('one root needs memory: %d pages', (pages) => {
    const found = new Host(12, pages).init(39, GIB);
    expect(typeof found === 'string' ? found : 'ok').toBe(pages < 3 ? 'noMemory' : 'ok');
  });

  test.each([0, 1, 2, 3, 4, 5, 6])('three need memory: %d pages', (pages) => {
    const found = new Host(12, pages).init(39, 2 ** 40);
    expect(typeof found === 'string' ? found : 'ok').toBe(pages < 5 ? 'noMemory' : 'ok');
  });
});
