/** The shared memory of a run: every structure in a place of its own, aligned as its users need it. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HISTOGRAM_BYTES } from '../../src/engine/histogram.ts';
import { HVA_BASE } from '../../src/kvm/host/layout.ts';
import type { UserfaultLayout } from '../../src/kvm/host/userfault.ts';
import { dirtyBitmapBytes } from '../../src/kvm/dirty-bitmap.ts';
import { MEMCACHE_BYTES } from '../../src/kvm/memcache.ts';
import { memslotArraysBytes } from '../../src/kvm/memslots.ts';
import { GRANT_BYTES, placesOf } from '../../src/kvm/run-queue.ts';
import { CPU_VMID_BYTES } from '../../src/kvm/vmid/vmid-allocator.ts';
import { CACHE_PAGES } from '../../src/kvm/table-page-cache.ts';
import { Mutex } from '../../src/locking/mutex.ts';
import { RwLock } from '../../src/locking/rw-lock.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { Srcu } from '../../src/locking/srcu.ts';
import { CPU_CACHE_BYTES } from '../../src/machine/cpu.ts';
import { FRAME_META_BYTES, ZONE_STATE_BYTES, type ZoneLayout } from '../../src/machine/frames.ts';
import { PLAIN_4K, geometryOf, pageBytesOf } from '../../src/machine/shape.ts';
import { ANSWER_BYTES, RING_BYTES } from '../../src/machine/tlbi.ts';
import {
  hostAgent,
  layoutOf,
  layoutOfVm,
  LOG_ENTRY_BYTES,
  mainAgent,
  memcacheOf,
  statisticsOf,
  vmOfAgent,
  type Layout,
} from '../../src/workers/layout.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { SLOT_LOG_BYTES } from '../../src/workers/slot-log.ts';
import { STATISTICS, WALKS_MAX } from '../../src/workers/statistics.ts';
import { WORDS, type WordName } from '../../src/workers/words.ts';
import { PAGE, scenarioOf } from '../support/lab.ts';

const LINE = 128;

interface Extent {
  readonly name: string;
  readonly at: number;
  readonly bytes: number;
  readonly align: number;
}

function zoneExtents(name: string, zone: ZoneLayout): Extent[] {
  const { state, meta, contents, frames, frameBytes, contentBytes } = zone;
  return [
    { name: `${name} state`, at: state, bytes: ZONE_STATE_BYTES, align: LINE },
    { name: `${name} meta`, at: meta, bytes: frames * FRAME_META_BYTES, align: LINE },
    { name: `${name} contents`, at: contents, bytes: frames * contentBytes, align: frameBytes },
  ];
}

function copyExtent({ slots, guestZone }: Layout, slot: number, at: number): Extent {
  const bytes = (slots[slot]?.pages ?? 0) * guestZone.contentBytes;
  return { name: `copy ${slot}`, at, bytes, align: PAGE };
}

function userfaultExtents(i: number, userfault: UserfaultLayout | null): Extent[] {
  if (userfault === null) return [];
  const places = userfault.places.flatMap(({ lock, bell, order, records, waiters }, queue) => {
    const name = `queue ${queue} of slot ${i}`;
    return [
      { name, at: lock, bytes: SpinLock.bytes(waiters), align: LINE },
      { name, at: bell, bytes: 8, align: LINE },
      { name, at: order, bytes: 16 + waiters * 4, align: LINE },
      { name, at: records, bytes: waiters * 64, align: LINE },
    ];
  });
  return [...places, { name: `resolved ${i}`, at: userfault.resolved, bytes: 4, align: LINE }];
}

/** What another VM has for itself. */
function ofVm(first: Layout, vm: number): Extent[] {
  const { words, locks, rwLocks, host, memslots, log, ...layout } = layoutOfVm(first, vm);
  const { vcpus, agents, pages, runQueue } = layout;
  const lines = [
    ...(['stage2Root', 'vmid', 'notifierSequence', 'protectEpoch'] as const).map((name) => ({
      name,
      at: words[name],
      bytes: 8,
    })),
    { name: 'mmu_lock', at: locks.mmu_lock, bytes: SpinLock.bytes(agents) },
    { name: 'page_table_lock', at: locks.page_table_lock, bytes: SpinLock.bytes(agents) },
    { name: 'mmap_lock', at: rwLocks.mmap_lock, bytes: RwLock.bytes(agents) },
    { name: 'slots_lock', at: layout.slotsLock, bytes: Mutex.bytes(agents) },
    { name: 'SRCU', at: layout.slotsSrcu, bytes: Srcu.bytes(agents) },
    { name: 'slots', at: memslots.arrays, bytes: memslotArraysBytes(memslots.bitmaps.length) },
    { name: 'host', at: host.levels.at(-1)?.entries ?? 0, bytes: pages * 4 },
    { name: 'marks', at: host.pageFlags, bytes: first.guestZone.frames * 4 },
    { name: 'last vCPUs', at: layout.lastVcpus, bytes: runQueue.cpus * 4 },
    { name: 'log', at: log, bytes: vcpus * pages * LOG_ENTRY_BYTES },
  ];
  return lines.map((line) => ({ ...line, name: `VM ${vm}: ${line.name}`, align: LINE }));
}

/** Every structure of a layout, from the sizes that its users declare. */
function extentsOf(layout: Layout): Extent[] {
  const { vcpus, agents, pages, memslots } = layout;
  const { cpus, tasks } = layout.runQueue;
  const ids = memslots.bitmaps.length;
  const each = (n: number, of: (i: number) => Extent): Extent[] =>
    Array.from({ length: n }, (_, i) => of(i));
  return [
    ...Object.entries(layout.words).map(([name, at]) => ({ name, at, bytes: 8, align: LINE })),
    ...Object.entries(layout.locks).map(([name, at]) => ({
      name,
      at,
      bytes: SpinLock.bytes(agents),
      align: LINE,
    })),
    ...Object.entries(layout.rwLocks).map(([name, at]) => ({
      name,
      at,
      bytes: RwLock.bytes(agents),
      align: LINE,
    })),
    ...each(agents, (agent) => ({
      name: `statistics ${agent}`,
      at: statisticsOf(layout, agent),
      bytes: STATISTICS.bytes,
      align: 8,
    })),
    { name: 'ring', at: layout.interconnect.ring, bytes: RING_BYTES, align: LINE },
    { name: 'answers', at: layout.interconnect.answers, bytes: cpus * ANSWER_BYTES, align: LINE },
    { name: 'caches', at: layout.cpuCaches, bytes: cpus * CPU_CACHE_BYTES, align: PAGE },
    { name: 'busy', at: layout.runQueue.busy, bytes: cpus * 4, align: LINE },
    { name: 'places', at: layout.runQueue.places, bytes: placesOf(tasks) * 4, align: LINE },
    { name: 'grants', at: layout.runQueue.grants, bytes: tasks * GRANT_BYTES, align: LINE },
    { name: 'VMIDs', at: layout.vmids.map, bytes: 32, align: LINE },
    { name: 'VMIDs of CPUs', at: layout.vmids.cpus, bytes: cpus * CPU_VMID_BYTES, align: LINE },
    { name: 'last vCPUs', at: layout.lastVcpus, bytes: cpus * 4, align: LINE },
    { name: 'other VMIDs', at: layout.shortLivedVmids, bytes: layout.hosts * 8, align: LINE },
    ...layout.otherVms.flatMap((_, vm) => ofVm(layout, vm + 1)),
    ...each(vcpus, (vcpu) => ({
      name: `memcache ${vcpu}`,
      at: memcacheOf(layout, vcpu),
      bytes: MEMCACHE_BYTES,
      align: LINE,
    })),
    { name: 'slots_lock', at: layout.slotsLock, bytes: Mutex.bytes(agents), align: LINE },
    { name: 'SRCU', at: layout.slotsSrcu, bytes: Srcu.bytes(agents), align: LINE },
    { name: 'slots', at: memslots.arrays, bytes: memslotArraysBytes(ids), align: LINE },
    ...memslots.bitmaps.map(({ at, pages: room }, id) => ({
      name: `bitmap ${id}`,
      at,
      bytes: dirtyBitmapBytes(room),
      align: LINE,
    })),
    ...layout.dirtyRings.flatMap(({ size, entries, dirtyIndex, resetIndex, fetchIndex }) => [
      { name: 'ring entries', at: entries, bytes: size * 16, align: LINE },
      ...[dirtyIndex, resetIndex, fetchIndex].map((at) => ({
        name: 'ring index',
        at,
        bytes: 8,
        align: LINE,
      })),
    ]),
    ...layout.host.vmas.flatMap(({ userfault }, i) => userfaultExtents(i, userfault)),
    ...layout.host.levels.map(({ level, entries }) => ({
      name: `host table ${level}`,
      at: entries,
      bytes: pages * 4,
      align: LINE,
    })),
    { name: 'moves', at: layout.host.moves, bytes: 8, align: LINE },
    { name: 'marks', at: layout.host.pageFlags, bytes: layout.guestZone.frames * 4, align: LINE },
    ...layout.slotLogs.flatMap(({ begun, copy }, slot) => [
      { name: `slot log ${slot}`, at: begun, bytes: SLOT_LOG_BYTES, align: LINE },
      ...(copy === null ? [] : [copyExtent(layout, slot, copy)]),
    ]),
    { name: 'log', at: layout.log, bytes: vcpus * pages * LOG_ENTRY_BYTES, align: PAGE },
    ...zoneExtents('guest', layout.guestZone),
    ...zoneExtents('tables', layout.tableZone),
    ...zoneExtents('swap', layout.swapZone),
  ];
}

const scenarios: fc.Arbitrary<Scenario> = fc
  .record({
    vcpus: fc.integer({ min: 1, max: 70 }),
    vms: fc.integer({ min: 1, max: 3 }),
    cpus: fc.integer({ min: 1, max: 9 }),
    pageShift: fc.constantFrom(12, 14, 16),
    ipaBits: fc.integer({ min: 32, max: 48 }),
    frames: fc.integer({ min: 1, max: 5000 }),
    contents: fc.constantFrom('page' as const, 'line' as const),
    pages: fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 6 }),
  })
  .map(({ pages, pageShift, cpus, ...rest }) =>
    scenarioOf({
      ...rest,
      dirtyRing: 8,
      machine: { ...PLAIN_4K, pageShift, cpus },
      rounds: [
        { name: 'r', guest: null, hosts: [{ action: 'harvest', slot: 0, times: 1, delay: 1 }] },
      ],
      slots: pages.map((count, i) => {
        const queue = (['shared', 'per-vcpu', 'exit'] as const)[i % 3] ?? 'exit';
        const userfault = { mode: 'missing', queue } as const;
        const slot = { base: i * 2 ** 28, bytes: count * 2 ** pageShift, logging: false };
        return i < 3 ? { ...slot, userfault } : slot;
      }),
    }),
  );

test('no two structures overlap, each is aligned, none is at 0, and the end is the end', () => {
  fc.assert(
    fc.property(scenarios, (scenario) => {
      const layout = layoutOf(scenario);
      const extents = extentsOf(layout)
        .filter(({ bytes }) => bytes > 0)
        .toSorted((a, b) => a.at - b.at);
      const wrong = extents.flatMap((extent, i) => {
        const next = extents[i + 1]?.at ?? layout.bytes;
        const isOff = extent.at % extent.align !== 0 || extent.at < PAGE;
        return extent.at + extent.bytes > next || isOff ? [{ ...extent, next }] : [];
      });
      expect(wrong).toEqual([]);
    }),
    { seed: 3, numRuns: 200 },
  );
});

test('slots follow one another in user space, lie in their blocks as in the guest, and keep their pages', () => {
  fc.assert(
    fc.property(scenarios, (scenario) => {
      const layout = layoutOf(scenario);
      const geometry = geometryOf(scenario.machine);
      const { pageBytes } = geometry;
      let end: number = HVA_BASE;
      for (const [i, slot] of layout.slots.entries()) {
        const { base, bytes } = scenario.slots[i] ?? { base: 0, bytes: 0 };
        expect(slot).toMatchObject({ pageBytes, baseGfn: base / pageBytes });
        expect(slot.pages).toBe(bytes / pageBytes);
        const sizes = [1, 2].filter((level) => level >= geometry.blockLevelMin);
        const blocks = sizes.map((level) => geometry.sizeOf(level as 1 | 2));
        const block = blocks.find((size) => size <= bytes) ?? pageBytes;
        expect(slot.hva % block).toBe(base % block);
        expect(slot.hva).toBeGreaterThanOrEqual(end);
        expect(slot.hva).toBeLessThan(end + block);
        end = slot.hva + bytes;
      }
    }),
    { seed: 4, numRuns: 50 },
  );
});

interface RootedScenario extends Scenario {
  readonly startLevel: number;
}

/** Start level and root pages: at most 16 of these, at least two levels. */
function rootOf({ ipaBits, machine }: Scenario): { startLevel: number; pages: number } {
  const { pageShift } = machine;
  let startLevel = 2;
  let reach = pageShift + 2 * (pageShift - 3);
  for (; ipaBits - reach > 4; reach += pageShift - 3) startLevel--;
  return { startLevel, pages: Math.max(1, 2 ** (ipaBits - reach)) };
}

/** Tables below the root that mapping all of a scenario's slots takes, counted entry by entry. */
function tablesNeeded({ slots, machine, startLevel }: RootedScenario): number {
  const { pageShift } = machine;
  const tables = new Set<string>();
  for (const { base, bytes } of slots) {
    for (let ipa = base; ipa < base + bytes; ipa += 2 ** pageShift) {
      for (let level = startLevel; level < 3; level++)
        tables.add(
          `${level}:${Math.floor(ipa / 2 ** (pageShift + (pageShift - 3) * (3 - level)))}`,
        );
    }
  }
  return tables.size;
}

test('the table zone holds all tables of all slots, the root, and full caches', () => {
  fc.assert(
    fc.property(scenarios, (scenario) => {
      const { startLevel, pages } = rootOf(scenario);
      const needed = tablesNeeded({ ...scenario, startLevel }) + pages;
      const { frames, frameBytes } = layoutOf(scenario).tableZone;
      expect(frames).toBeGreaterThanOrEqual(needed + scenario.vcpus * CACHE_PAGES);
      expect(frameBytes).toBe(pageBytesOf(scenario.machine));
    }),
    { seed: 5, numRuns: 50 },
  );
});

test('equal scenarios have equal layouts; the host and main agents come after the vCPUs', () => {
  const layout = layoutOf(scenarioOf({ vcpus: 5 }));
  expect(layoutOf(scenarioOf({ vcpus: 5 }))).toEqual(layout);
  expect([hostAgent(layout), mainAgent(layout), layout.agents]).toEqual([5, 6, 7]);
  expect(Object.keys(layout.words)).toEqual(Object.keys(WORDS) as WordName[]);
});

test('no two statistics share a place in the block', () => {
  const {
    faults,
    locks,
    rwLocks,
    slotsLock,
    slotsSrcu,
    tablesRcu,
    userfaultLock,
    tlbi,
    bytes,
    ...counters
  } = STATISTICS;
  const modes = [...Object.values(rwLocks), slotsSrcu, tablesRcu].flatMap(({ read, write }) => [
    read,
    write,
  ]);
  const extents = [
    ...Object.values(counters).map((at) => [at, 8] as const),
    ...Object.values(tlbi).map((at) => [at, 8] as const),
    ...Object.values(faults).flatMap((fault) => [
      [fault.faults, 8] as const,
      [fault.walks, (WALKS_MAX + 1) * 4] as const,
      [fault.latencyNs, HISTOGRAM_BYTES] as const,
    ]),
    ...[...Object.values(locks), slotsLock, userfaultLock, ...modes].flatMap((lock) => [
      ...[lock.acquisitions, lock.releases, lock.contentions].map((at) => [at, 4] as const),
      ...[lock.waitTotalNs, lock.holdTotalNs].map((at) => [at, 8] as const),
      ...[lock.waitNs, lock.holdNs].map((at) => [at, HISTOGRAM_BYTES] as const),
    ]),
  ].toSorted(([a], [b]) => a - b);
  const wrong = extents.filter(
    ([at, size], i) => at % 8 !== 0 || at + size > (extents[i + 1]?.[0] ?? bytes),
  );
  expect(wrong).toEqual([]);
});

test('the owners of frames tell the VMs apart: their slots follow one another in user space', () => {
  const layout = layoutOf(scenarioOf({ vms: 3 }));
  const areas = [0, 1, 2].flatMap((vm) => layoutOfVm(layout, vm).host.vmas);
  const ends = areas.map(({ hva, bytes }) => hva + bytes);
  expect(areas.slice(1).every(({ hva }, i) => hva >= (ends[i] as number))).toBe(true);
  expect(
    [0, 1, 2, 3, 4].map((agent) => vmOfAgent({ ...layout, vcpus: 3, hosts: 1 }, agent)),
  ).toEqual([0, 1, 2, 0, 0]);
});
