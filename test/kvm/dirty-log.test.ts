/** Dirty logging (specification 5J): the order of enabling it, and that no schedule grants W without a dirty bit. */
import { drive } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { enableDirtyLog } from '../../src/workers/host-operations.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, Lab, only, PAGE, RAM, toLock, type PathEntry } from '../support/lab.ts';

const SMALL = { slots: [{ base: RAM, bytes: 4 * PAGE, logging: false }] };

test('enabling sets the flag, takes W away under the lock, and flushes once after it', () => {
  const lab = new Lab(SMALL);
  const guest = new Guest(lab, 0);
  drive(guest.touch(RAM, 'write'));
  drive(guest.touch(RAM + PAGE, 'read'));
  const { at } = lab.path(RAM).at(-1) as PathEntry;
  const flag = lab.world.layout.words.slotsGeneration;
  const host = lab.view();
  const mmuLock = lab.world.layout.locks.mmu_lock;
  const events = lab.run(new Scripted([]), [() => enableDirtyLog(host, lab.slot)]);
  const order = events.flatMap(({ kind, at: word }) => {
    if (kind === EventKind.signal && word === flag) return ['publish'];
    if (kind === EventKind.store64 && word === at) return ['W off'];
    if (kind === EventKind.store64 && word === at + 8) return ['W off, next page'];
    if (kind === EventKind.lockAcquired && word === mmuLock) return ['lock'];
    if (kind === EventKind.lockReleased && word === mmuLock) return ['unlock'];
    if (kind === EventKind.tlbi) return [word === TlbiKind.vmid ? 'flush' : 'TLBI'];
    return kind === EventKind.dsbComplete ? ['complete'] : [];
  });
  const expected = ['publish', 'lock', 'W off', 'W off, next page', 'unlock', 'flush', 'complete'];
  expect(order).toEqual(expected);
  expect([lab.leaf(RAM).hex, lab.leaf(RAM + PAGE).hex]).toEqual([
    '004000008000077f',
    '004000008000177f',
  ]);
  expect(lab.slot.isDirty(0)).toBe(false);
  // The TLB still has W, until its next access boundary: then the write faults and is seen.
  expect(drive(guest.touch(RAM, 'write'))).toBe(1);
  expect([lab.slot.isDirty(0), lab.slot.isDirty(1)]).toEqual([true, false]);
});

test.each(['read', 'write'] as const)(
  'a %s fault that began before logging ends before the slot is write-protected, and loses its W',
  (kind) => {
    const lab = new Lab(SMALL);
    const guest = new Guest(lab, 0);
    const host = lab.view();
    const script = new Scripted([
      toLock(lab, 0),
      { agent: 1, until: (pending) => pending.kind === EventKind.wait },
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    lab.run(script, [() => guest.touch(RAM, kind), () => enableDirtyLog(host, lab.slot)]);
    expect(script.linesDone).toBe(3);
    expect([lab.leaf(RAM).hex, lab.slot.isDirty(0)]).toEqual(['004000008000077f', false]);
    expect(drive(guest.touch(RAM, 'write'))).toBe(1);
    expect(lab.slot.isDirty(0)).toBe(true);
  },
);

/** Entries of both CPUs' TLBs that allow a write the table does not (invariant 21). */
function tooPermissive(lab: Lab, guests: readonly Guest[]): string[] {
  const found: string[] = [];
  for (const [cpu, guest] of guests.entries()) {
    // What is pending is performed at the next access boundary: a read that faults nowhere.
    drive(guest.touch(RAM, 'read'));
    guest.cpu.tlb.forEach((address, _level, _vmid, lo) => {
      const isWritable = lab.path(address).at(-1)?.value.isWritable() === true;
      if ((lo & 0x80) !== 0 && !isWritable) found.push(`CPU ${cpu}: ${address.toString(16)}`);
    });
  }
  return found;
}

test('in 300 schedules of a writer, a reader and the host: W implies dirty, in the table and in the TLBs', () => {
  const lab = new Lab(SMALL);
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  lab.shared.explore.baseline();
  let writable = 0;
  let protectedPages = 0;
  for (let seed = 0; seed < 300; seed++) {
    lab.shared.explore.restore();
    const [writer, reader] = [new Guest(lab, 0), new Guest(lab, 1)];
    const host = lab.view();
    lab.runWith(new RandomScheduler(seed), [
      function* write() {
        for (let i = 0; i < 15; i++) yield* writer.touch(RAM + (i % 3) * PAGE, 'write');
      },
      function* read() {
        for (let page = 2; page >= 0; page--) yield* reader.touch(RAM + page * PAGE, 'read');
      },
      () => enableDirtyLog(host, lab.slot),
    ]);
    for (let page = 0; page < 3; page++) {
      const isWritable =
        lab
          .path(RAM + page * PAGE)
          .at(-1)
          ?.value.isWritable() === true;
      const isDirty = lab.slot.isDirty(page);
      if (isWritable) writable++;
      else protectedPages++;
      if (isWritable && !isDirty) throw new Error(`seed ${seed}: page ${page} has W and is clean`);
    }
    expect({ seed, tooPermissive: tooPermissive(lab, [writer, reader]) }).toEqual({
      seed,
      tooPermissive: [],
    });
  }
  // Both ends of the race were seen.
  expect(writable).toBeGreaterThan(100);
  expect(protectedPages).toBeGreaterThan(100);
});

test('without a table logging begins, and there is nothing to write-protect', () => {
  const lab = new Lab(SMALL);
  drive(lab.world.vm.freeStage2());
  drive(enableDirtyLog(lab.world, lab.slot));
  expect(lab.slot.isLogging()).toBe(true);
});

test('enabling twice is two flushes of the VMID and none by IPA', () => {
  const lab = new Lab(SMALL);
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  const host = lab.view();
  const enable = (): ReturnType<typeof enableDirtyLog> => enableDirtyLog(host, lab.slot);
  const events = [enable, enable].flatMap((start) => lab.run(new Scripted([]), [start]));
  expect(only(events, EventKind.tlbi).map(({ at }) => at)).toEqual([TlbiKind.vmid, TlbiKind.vmid]);
  expect(lab.counter(0, STATISTICS.tlbi.vmid)).toBe(2);
});
