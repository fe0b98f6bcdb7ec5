/** The worked traces of the specification's appendix B of profile `5.10`, entry by entry (4K, IPA 40). */
import { drive } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Barrier } from '../../src/engine/port.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { FRAME_META_BYTES, TABLE_RAM_BASE } from '../../src/machine/frames.ts';
import type { Phys } from '../../src/machine/address.ts';
import { NO_HINT, TlbiKind } from '../../src/machine/tlbi.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, inFaults, Lab, MIB, only, PAGE, RAM, toLock, type Seen } from '../support/lab.ts';

/** L1 index 1, L2 index 1, L3 index 0. */
const IPA = 0x4020_0000;
/** The root is frames 0 and 1 of the table zone; vCPU 0 fills its cache with the next 40 and takes from the top. */
const PGD: number = TABLE_RAM_BASE;
const T2: number = TABLE_RAM_BASE + 41 * PAGE;
const T3: number = TABLE_RAM_BASE + 40 * PAGE;
const TABLES: readonly (readonly [string, number])[] = [
  ['PGD0', PGD],
  ['PGD1', PGD + PAGE],
  ['T2', T2],
  ['T3', T3],
];

/** `load T2[1] 0000000000000000` for every load and store of an entry. */
function entryAccesses(lab: Lab, events: readonly Seen[]): string[] {
  return events.flatMap(({ kind, at, newLo, newHi }) => {
    if (kind !== EventKind.load64 && kind !== EventKind.store64) return [];
    for (const [name, address] of TABLES) {
      const offset = at - lab.world.memory.wordOf(address as Phys);
      if (offset < 0 || offset >= PAGE) continue;
      const value = (BigInt(newHi >>> 0) << 32n) | BigInt(newLo >>> 0);
      const verb = kind === EventKind.load64 ? 'load' : 'store';
      return [`${verb} ${name}[${offset / 8}] ${value.toString(16).padStart(16, '0')}`];
    }
    return [];
  });
}

const barriers = (events: readonly Seen[]): number[] =>
  only(events, EventKind.barrier).map(({ extra }) => extra);

function tlbis(events: readonly Seen[]): object[] {
  return only(events, EventKind.tlbi).map(({ at, newLo, newHi }) => ({
    kind: at,
    hint: newLo,
    page: newHi,
  }));
}

/** `T2 2->1` for every change of the references of a table. */
function referenceChanges(lab: Lab, events: readonly Seen[]): string[] {
  const { base, meta } = lab.world.layout.tableZone;
  return only(events, EventKind.add32).flatMap(({ at, oldLo, newLo }) =>
    TABLES.filter(([, address]) => at === meta + ((address - base) / PAGE) * FRAME_META_BYTES).map(
      ([name]) => `${name} ${oldLo}->${newLo}`,
    ),
  );
}

/** `load T3[0] ...` to `load T3[511] ...`: all empty but one. */
const loadsOfT3 = (index: number, value: string): string[] =>
  Array.from(
    { length: 512 },
    (_, i) => `load T3[${i}] ${i === index ? value : '0000000000000000'}`,
  );

test('B1: a fresh page takes two tables from the cache and one leaf', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  const events = lab.run(new Scripted([{ agent: 0, toEnd: true }]), [
    () => guest.touch(IPA, 'read'),
  ]);
  const fault = inFaults(events, 0);
  expect(entryAccesses(lab, fault)).toEqual([
    'load PGD0[1] 0000000000000000',
    'store PGD0[1] 0000001000029003',
    'load PGD0[1] 0000001000029003',
    'load T2[1] 0000000000000000',
    'store T2[1] 0000001000028003',
    'load T2[1] 0000001000028003',
    'load T3[0] 0000000000000000',
    'store T3[0] 00400000800007ff',
  ]);
  expect(guest.results).toEqual(['resume']);
  expect(lab.references(IPA)).toEqual([2, 2, 2]);
  expect(drive(lab.world.memory.tables.count((PGD + PAGE) as Phys))).toBe(1);
  expect(guest.vcpu.memcache.pages).toBe(40 - 2);
  expect(barriers(fault)).toEqual([Barrier.dsbIshst]);
  expect(tlbis(events)).toEqual([]);
  expect(only(fault, EventKind.dcacheClean)).toHaveLength(1);
  expect(only(fault, EventKind.icacheInvalidate)).toEqual([]);
  expect(lab.counter(0, STATISTICS.walks)).toBe(1);
});

test('B2: a second vCPU that faulted on the same page finds its leaf there and changes nothing', () => {
  const lab = new Lab();
  const [first, second] = [new Guest(lab, 0), new Guest(lab, 1)];
  const script = new Scripted([toLock(lab, 0), toLock(lab, 1), { agent: 0, toEnd: true }]);
  const events = lab.run(script, [
    () => first.touch(IPA, 'write'),
    () => second.touch(IPA, 'write'),
  ]);
  expect(script.linesDone).toBe(3);
  const lost = inFaults(events, 1);
  expect(entryAccesses(lab, lost)).toEqual([
    'load PGD0[1] 0000001000029003',
    'load T2[1] 0000001000028003',
    'load T3[0] 00400000800007ff',
  ]);
  expect([first.results, second.results]).toEqual([['resume'], ['resume']]);
  expect(lab.references(IPA)).toEqual([2, 2, 2]);
  expect(second.vcpu.memcache.pages).toBe(40);
  expect(barriers(lost)).toEqual([Barrier.dsbIshst]);
  expect(tlbis(events)).toEqual([]);
  // One frame for both, and both pins are gone.
  expect(lab.used('guest')).toBe(1);
  expect(drive(lab.world.memory.guest.count(0x8000_0000 as Phys))).toBe(1);
});

test('B3: a 2M block over a table collapses it: one flush of the VMID, every reference of the table dropped', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(IPA, 'read'));
  const cache = guest.vcpu.memcache;
  const pgt = drive(guest.world.vm.pgt()) as Stage2Pgtable;
  const prot = Prot.r | Prot.w;
  const block = { ipa: IPA, size: 2 * MIB, phys: 0x8000_0000 as Phys, prot, cache };
  const events = lab.run(new Scripted([]), [() => stage2Map(pgt, block)]);
  expect(entryAccesses(lab, events)).toEqual([
    'load PGD0[1] 0000001000029003',
    'load T2[1] 0000001000028003',
    'store T2[1] 0000001000028002',
    ...loadsOfT3(0, '00400000800007ff'),
    // Broken, but it still says which table to free.
    'load T2[1] 0000001000028002',
    'store T2[1] 00400000800007fd',
  ]);
  expect(referenceChanges(lab, events)).toEqual(['T3 2->1', 'T3 1->0', 'T2 2->1', 'T2 1->2']);
  expect(lab.references(IPA)).toEqual([2, 2]);
  expect(only(events, EventKind.tlbi)).toMatchObject([{ at: TlbiKind.vmid }]);
  expect(barriers(events)).toEqual([
    Barrier.dsbIshst,
    Barrier.dsbIsh,
    Barrier.isb,
    Barrier.dsbIshst,
  ]);
  expect(cache.pages).toBe(40 - 2);
  const order = events.map(({ kind }) => kind);
  expect(order.indexOf(EventKind.dsbComplete)).toBeLessThan(order.indexOf(EventKind.frameFree));
});

test('B4: a write to page 3 of a read-only block while logging dissolves the block', () => {
  const slots = [{ base: RAM, bytes: 4 * MIB, logging: true }];
  const lab = new Lab({ slots, frames: 1024 });
  const guest = new Guest(lab, 0);
  drive(guest.vcpu.memcache.topUp(2));
  const pgt = drive(lab.world.vm.pgt()) as Stage2Pgtable;
  const cache = guest.vcpu.memcache;
  const block = { ipa: IPA, size: 2 * MIB, phys: 0x8000_0000 as Phys, prot: Prot.r, cache };
  expect(drive(stage2Map(pgt, block))).toBe('ok');
  const page = IPA + 3 * PAGE;
  const events = lab.run(new Scripted([]), [() => guest.try(page, 'write')]);
  expect(guest.vcpu.fault.level).toBe(2);
  const fault = inFaults(events, 0);
  expect(entryAccesses(lab, fault)).toEqual([
    'load PGD0[1] 0000001000029003',
    'load T2[1] 004000008000077d',
    'store T2[1] 004000008000077c',
    'store T2[1] 0000001000028003',
    'load T2[1] 0000001000028003',
    'load T3[3] 0000000000000000',
    'store T3[3] 00400000800007ff',
  ]);
  expect(tlbis(events)).toEqual([{ kind: TlbiKind.ipa, hint: 2, page: page / PAGE }]);
  expect(lab.references(page)).toEqual([2, 2, 2]);
  // The block took one page for T2, this fault one for T3.
  expect(cache.pages).toBe(40 - 2);
});

test('B5: unmapping the range of that block frees page, T3 and T2, each entry after its TLBI', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(IPA + 3 * PAGE, 'write'));
  expect(lab.references(IPA + 3 * PAGE)).toEqual([2, 2, 2]);
  const pgt = drive(guest.world.vm.pgt()) as Stage2Pgtable;
  const events = lab.run(new Scripted([]), [() => stage2Unmap(pgt, IPA, 2 * MIB)]);
  const leaf = '00400000800007ff';
  const [before, after] = [loadsOfT3(3, leaf).slice(0, 4), loadsOfT3(3, leaf).slice(4)];
  expect(entryAccesses(lab, events)).toEqual([
    'load PGD0[1] 0000001000029003',
    'load T2[1] 0000001000028003',
    ...before,
    'store T3[3] 00400000800007fe',
    ...after,
    'store T2[1] 0000001000028002',
    'store PGD0[1] 0000001000029002',
  ]);
  expect(referenceChanges(lab, events)).toEqual([
    'T3 2->1',
    'T2 2->1',
    'T3 1->0',
    'PGD0 2->1',
    'T2 1->0',
  ]);
  // The page with its level; a removed table without one.
  expect(tlbis(events)).toEqual([
    { kind: TlbiKind.ipa, hint: 3, page: IPA / PAGE + 3 },
    { kind: TlbiKind.ipa, hint: NO_HINT, page: IPA / PAGE },
    { kind: TlbiKind.ipa, hint: NO_HINT, page: IPA / PAGE },
  ]);
  const steps = events.flatMap(({ kind, at }) => {
    if (kind === EventKind.store64)
      return lab.entryStores(events).some((s) => s.at === at) ? ['clear'] : [];
    if (kind === EventKind.tlbi) return ['TLBI'];
    if (kind === EventKind.frameFree) return ['free'];
    return kind === EventKind.dcacheClean ? ['clean'] : [];
  });
  const removed = ['clear', 'TLBI', 'free'];
  expect(steps).toEqual(['clear', 'TLBI', 'clean', ...removed, ...removed]);
  // As before B1.
  expect(lab.references(IPA)).toEqual([1]);
  expect(lab.used('tables')).toBe(2 + guest.vcpu.memcache.pages);
});

test('B8: a write permission fault on a read-only page is one walk, one store, one invalidation', () => {
  const lab = new Lab({ slots: [{ base: RAM, bytes: 4 * MIB, logging: true }] });
  const guest = new Guest(lab, 0);
  expect(drive(guest.touch(IPA, 'read'))).toBe(1);
  expect(lab.leaf(IPA)).toEqual({ level: 3, hex: '004000008000077f' });
  const events = lab.run(new Scripted([]), [() => guest.touch(IPA, 'write')]);
  const fault = inFaults(events, 0);
  expect(entryAccesses(lab, fault)).toEqual([
    'load PGD0[1] 0000001000029003',
    'load T2[1] 0000001000028003',
    'load T3[0] 004000008000077f',
    'store T3[0] 00400000800007ff',
  ]);
  expect(only(fault, EventKind.walkBegin)).toHaveLength(1);
  expect(tlbis(events)).toEqual([{ kind: TlbiKind.ipa, hint: 3, page: IPA / PAGE }]);
  expect(barriers(fault)).toEqual([Barrier.dsbIshst, Barrier.dsbIsh, Barrier.isb]);
  const order = fault.map(({ kind }) => kind);
  expect(order.indexOf(EventKind.store64)).toBeLessThan(order.indexOf(EventKind.tlbi));
  const { mmu_lock } = lab.world.layout.locks;
  const unlock = fault.findIndex(
    ({ kind, at }) => kind === EventKind.lockReleased && at === mmu_lock,
  );
  expect(order.indexOf(EventKind.dsbComplete)).toBeLessThan(unlock);
  expect(lab.references(IPA)).toEqual([2, 2, 2]);
  expect(guest.vcpu.memcache.pages).toBe(40 - 2);
  expect(only(fault, EventKind.dcacheClean)).toEqual([]);
  expect(lab.slot.isDirty((IPA - RAM) / PAGE)).toBe(true);
  expect(guest.results).toEqual(['resume', 'resume']);
  expect(lab.counter(0, STATISTICS.walks)).toBe(1);
});
