/** Patch 4: stage-2 tables made from VTCR alone, of every shape, freed without TLB maintenance once nobody can reach them. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Barrier } from '../../src/engine/port.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import type { Phys } from '../../src/machine/address.ts';
import { legacyDestroy } from '../../src/pgtable/legacy/unmap.ts';
import { stage2Destroy, stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { LimitedCache, RecordingOps, RW } from '../pgtable/helpers.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';
import { TinyMachine, configOf, geometryOf } from '../support/tiny-machine.ts';

/** The table of section 1.7: bits of IPA, then start level and root pages per granule. */
const MATRIX = [
  {
    bits: 32,
    shapes: [
      [2, 4],
      [2, 1],
      [2, 1],
    ],
  },
  {
    bits: 34,
    shapes: [
      [2, 16],
      [2, 1],
      [2, 1],
    ],
  },
  {
    bits: 35,
    shapes: [
      [1, 1],
      [2, 1],
      [2, 1],
    ],
  },
  {
    bits: 36,
    shapes: [
      [1, 1],
      [2, 1],
      [2, 1],
    ],
  },
  {
    bits: 39,
    shapes: [
      [1, 1],
      [2, 8],
      [2, 1],
    ],
  },
  {
    bits: 40,
    shapes: [
      [1, 2],
      [2, 16],
      [2, 1],
    ],
  },
  {
    bits: 42,
    shapes: [
      [1, 8],
      [1, 1],
      [2, 1],
    ],
  },
  {
    bits: 43,
    shapes: [
      [1, 16],
      [1, 1],
      [2, 2],
    ],
  },
  {
    bits: 44,
    shapes: [
      [0, 1],
      [1, 1],
      [2, 4],
    ],
  },
  {
    bits: 46,
    shapes: [
      [0, 1],
      [1, 1],
      [2, 16],
    ],
  },
  {
    bits: 48,
    shapes: [
      [0, 1],
      [1, 2],
      [1, 1],
    ],
  },
  {
    bits: 52,
    shapes: [
      [0, 16],
      [0, 1],
      [1, 1],
    ],
  },
] as const;
const PAGE_SHIFTS = [12, 14, 16] as const;

const ROWS = MATRIX.flatMap(({ bits, shapes }) =>
  PAGE_SHIFTS.map((pageShift, i) => {
    const [startLevel, pages] = shapes[i] as readonly [number, number];
    return { bits, pageShift, startLevel, pages };
  }),
);

describe('the IPA x granule matrix', () => {
  test.each(ROWS)(
    '$bits bits, pages of 2^$pageShift: start level $startLevel, $pages root pages, aligned',
    ({ bits, pageShift, startLevel, pages }) => {
      const page = 2 ** pageShift;
      const machine = new TinyMachine({ tableFrames: 40, tableBytes: page });
      const zone = machine.main.memory.tables;
      const ops = new RecordingOps(zone);
      const geometry = geometryOf(pageShift, bits);
      const inUse = (): number => zone.accounts().used - zone.accounts().free;
      // So that nothing is aligned by accident.
      drive(zone.zalloc());
      const pgt = drive(stage2Init(configOf(bits, geometry), ops));
      expect([pgt.startLevel, pgt.pgdPages]).toEqual([startLevel, pages]);
      expect(pgt.pgd % (pages * page)).toBe(0);
      expect(inUse()).toBe(1 + pages);

      const cache = new LimitedCache(zone, Infinity);
      const last = { ipa: 2 ** bits - page, size: page, phys: page as Phys, prot: RW, cache };
      expect(drive(stage2Map(pgt, last))).toBe('ok');
      // The last entry of the last root page, and a table at each level below.
      const roots = Array.from({ length: pages }, (_, i) =>
        drive(zone.count((pgt.pgd + i * page) as Phys)),
      );
      expect(roots).toEqual([...Array.from({ length: pages - 1 }, () => 1), 2]);
      const entries = 2 ** (bits - (4 - startLevel) * (pageShift - 3) - 3);
      expect(machine.entry(pgt.pgd, entries - 1) & 3n).toBe(3n);
      expect(cache.taken).toBe(3 - startLevel);

      ops.log.length = 0;
      drive(stage2Destroy(pgt));
      expect(ops.log.filter((line) => line.startsWith('tlbi'))).toEqual([]);
      expect(inUse()).toBe(1);
    },
  );
});

/** Ten pages and a block, by the faults of a vCPU and by hand. */
function populated(): Lab {
  const lab = new Lab({ frames: 32 });
  const guest = new Guest(lab, 0);
  for (let page = 0; page < 10; page++) drive(guest.touch(RAM + page * PAGE, 'write'));
  const pgt = drive(lab.world.vm.pgt()) as Stage2Pgtable;
  const block = { ipa: 2 ** 31, size: 2 ** 30, phys: (2 ** 31) as Phys, prot: RW, cache: null };
  expect(drive(stage2Map(pgt, block))).toBe('ok');
  return lab;
}

describe('the root', () => {
  test('is published behind the zeroes of its pages and a DSB ISHST', () => {
    const lab = new Lab();
    drive(lab.world.vm.freeStage2());
    const { stage2Root } = lab.world.layout.words;
    const host = lab.view();
    const events = lab.run(new Scripted([]), [() => host.vm.initStage2()]);
    const order = events.flatMap(({ kind, at, newLo, extra }) => {
      if (kind === EventKind.fill && newLo === 0) return ['zeroes'];
      if (kind === EventKind.barrier && extra === Barrier.dsbIshst) return ['DSB ISHST'];
      return kind === EventKind.store32 && at === stage2Root ? ['root'] : [];
    });
    expect(order).toEqual(['zeroes', 'zeroes', 'DSB ISHST', 'root']);
    expect(drive(host.vm.pgt())).not.toBeNull();
  });

  test('is taken away under the lock; then every page is freed, with no TLBI at all', () => {
    const lab = populated();
    const { stage2Root } = lab.world.layout.words;
    const { contents } = lab.world.layout.tableZone;
    const cached = 38;
    expect(lab.used('tables')).toBe(2 + 2 + cached);
    const host = lab.view();
    const events = lab.run(new Scripted([]), [() => host.vm.freeStage2()]);
    const { mmu_lock } = lab.world.layout.locks;
    const order = events.flatMap(({ kind, at, newLo }) => {
      if (kind === EventKind.lockAcquired && at === mmu_lock) return ['lock'];
      if (kind === EventKind.lockReleased && at === mmu_lock) return ['unlock'];
      if (kind === EventKind.store32 && at === stage2Root) return [`root ${newLo}`];
      return kind === EventKind.frameFree && at >= contents ? ['free'] : [];
    });
    // T3, T2 and two pages of the root.
    expect(order).toEqual(['lock', 'root 0', 'unlock', 'free', 'free', 'free', 'free']);
    expect(only(events, EventKind.tlbi)).toEqual([]);
    expect(lab.entryStores(events)).toEqual([]);
    expect(lab.used('tables')).toBe(cached);
  });

  test('was unmapped by the replaced code first: a TLBI for every leaf and table', () => {
    const lab = populated();
    const { vm } = lab.world;
    const pgt = drive(vm.pgt()) as Stage2Pgtable;
    const events = lab.run(new Scripted([]), [() => legacyDestroy(pgt)]);
    // Ten pages, a block, T3 and T2.
    expect(only(events, EventKind.tlbi)).toHaveLength(10 + 1 + 2);
    expect(lab.entryStores(events)).toHaveLength(10 + 1 + 2);
    expect(only(events, EventKind.frameFree)).toHaveLength(4);
  });

  test('once taken away is found by nobody: a second teardown does nothing, a vCPU cannot be loaded', () => {
    const lab = populated();
    const host = lab.view();
    drive(host.vm.freeStage2());
    const events = lab.run(new Scripted([]), [() => lab.view().vm.freeStage2()]);
    expect(only(events, EventKind.frameFree)).toEqual([]);
    expect(() => drive(new Guest(lab, 1).touch(RAM, 'read'))).toThrow('without a stage-2 table');
  });
});
