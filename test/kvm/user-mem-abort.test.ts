/** Faults on guest memory (specification 5E) with the host's own memory and notifiers; fault-steps.test.ts has the steps one by one. */
import { drive, load32, Order } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { handleGuestAbort } from '../../src/kvm/guest-abort.ts';
import { discardSlot } from '../../src/workers/host-operations.ts';
import type { AbortResult } from '../../src/kvm/vcpu.ts';
import type { Hva, Ipa, Phys } from '../../src/machine/address.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import type { AccessKind } from '../../src/machine/cpu.ts';
import { NO_FRAME } from '../../src/machine/frames.ts';
import { FaultRecord, FSC } from '../../src/machine/syndrome.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, inFaults, Lab, MIB, only, PAGE, RAM, toLock } from '../support/lab.ts';

const LOGGING = { slots: [{ base: RAM, bytes: 4 * MIB, logging: true }] };

/** A lab whose slot logs from the start. */
function loggingLab(): Lab {
  const lab = new Lab(LOGGING);
  return lab;
}

function handle(lab: Lab, guest: Guest, ipa: number, kind: AccessKind, fsc: number): AbortResult {
  guest.vcpu.fault = FaultRecord.ofAccess(fsc, 3, ipa as Ipa, kind);
  return drive(handleGuestAbort(lab.world.vm, guest.vcpu));
}

describe('a fault ends', () => {
  test('when the cache cannot be filled to its minimum: -ENOMEM, and nothing was pinned', () => {
    const lab = new Lab();
    lab.drain('tables', 1);
    expect(handle(lab, new Guest(lab, 0), RAM, 'write', FSC.translation)).toBe('noMemory');
    expect([lab.used('guest'), lab.path(RAM).length]).toEqual([0, 1]);
  });

  test('well with exactly the minimum of table pages, two', () => {
    const lab = new Lab();
    lab.drain('tables', 2);
    const guest = new Guest(lab, 0);
    expect(handle(lab, guest, RAM, 'write', FSC.translation)).toBe('resume');
    expect([lab.leaf(RAM).hex, guest.vcpu.memcache.pages]).toEqual(['00400000800007ff', 0]);
  });

  test('when the host has no frame: -ENOMEM, and the table is as it was', () => {
    const lab = new Lab();
    lab.drain('guest', 0);
    expect(handle(lab, new Guest(lab, 0), RAM, 'write', FSC.translation)).toBe('fault');
    expect(lab.path(RAM)).toHaveLength(1);
  });

  test('when the table was torn down before the lock: -EFAULT, and the pin is dropped', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    const other = lab.view();
    lab.run(new Scripted([toLock(lab, 0), { agent: 1, toEnd: true }]), [
      () => guest.try(RAM, 'write'),
      () => other.vm.freeStage2(),
    ]);
    expect(guest.results).toEqual(['fault']);
    expect(drive(lab.world.memory.guest.count(0x8000_0000 as Phys))).toBe(1);
    expect(lab.used('tables')).toBe(guest.vcpu.memcache.pages);
  });
});

describe('a fault with a notifier', () => {
  test('open retries: nothing is installed, nothing stays pinned, no walk is made', () => {
    const lab = new Lab();
    const { mmuLock, notifier } = lab.world.vm.parts;
    drive(mmuLock.lock());
    drive(notifier.startLocked());
    drive(mmuLock.unlock());
    const guest = new Guest(lab, 0);
    guest.vcpu.fault = FaultRecord.ofAccess(FSC.translation, 1, RAM as Ipa, 'write');
    expect(drive(handleGuestAbort(guest.world.vm, guest.vcpu))).toBe('resume');
    expect(lab.path(RAM)).toHaveLength(1);
    expect(drive(lab.world.memory.guest.count(0x8000_0000 as Phys))).toBe(1);
    const main = lab.world.layout.vcpus + 1;
    expect(lab.counter(main, STATISTICS.retried)).toBe(1);
    expect(lab.counter(main, STATISTICS.walks)).toBe(0);
  });

  test('B7: that came and went since the sequence was read retries and finds the new page', () => {
    const lab = new Lab();
    const host = lab.view();
    for (let i = 0; i < 7; i++) drive(discardSlot(host.vm, lab.slot));
    const guest = new Guest(lab, 0);
    const script = new Scripted([toLock(lab, 0), { agent: 1, toEnd: true }]);
    const events = lab.run(script, [
      () => guest.try(RAM, 'write'),
      () => discardSlot(host.vm, lab.slot),
    ]);
    expect(lab.path(RAM)).toHaveLength(1);
    expect([guest.results, lab.used('guest')]).toEqual([['resume'], 0]);
    // Somebody else gets the old page.
    expect(drive(lab.world.memory.guest.zalloc())).toBe(0x8000_0000);
    drive(guest.touch(RAM, 'write'));
    expect(drive(host.vm.parts.notifier.readSequence())).toBe(8);
    expect(guest.results).toEqual(['resume', 'resume']);
    expect(lab.counter(0, STATISTICS.retried)).toBe(1);
    // The notifier had ended: no reason to wait for it.
    expect(only(events, EventKind.retryWhen)).toEqual([]);
    expect(lab.leaf(RAM).hex).toBe('00400000800017ff');
    expect(lab.world.vm.parts.host.lookup(lab.slot.hva)).toBe(0x8000_1000);
  });

  test('that comes and goes right after the pin is noticed: the sequence was read before it', () => {
    const lab = new Lab();
    const { host: memory } = lab.world.vm.parts;
    drive(memory.unpin(drive(memory.pin(lab.slot.hva, true)).frame));
    const guest = new Guest(lab, 0);
    const host = lab.view();
    const { meta } = lab.world.layout.guestZone;
    const script = new Scripted([
      { agent: 0, until: ({ kind, at }) => kind === EventKind.add32 && at === meta },
      // Takes the reference, and sees that the page is still there.
      { agent: 0, steps: 2 },
      { agent: 1, toEnd: true },
    ]);
    lab.run(script, [() => guest.try(RAM, 'write'), () => discardSlot(host.vm, lab.slot)]);
    expect(script.linesDone).toBe(3);
    expect([lab.path(RAM).length, lab.used('guest')]).toEqual([1, 0]);
    expect(lab.counter(0, STATISTICS.retried)).toBe(1);
  });

  test('B7, still open: retries, and the vCPU stays off until the end', () => {
    const lab = new Lab();
    const host = lab.view();
    const guest = new Guest(lab, 0);
    const { host: memory, words } = lab.world.layout;
    const hostTable = memory.levels[0]?.entries;
    const script = new Scripted([
      toLock(lab, 0),
      // Unmapped, unlocked, about to free the host's first page.
      { agent: 1, until: (pending) => pending.at === hostTable },
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    const events = lab.run(script, [
      () => guest.touch(RAM, 'write'),
      () => discardSlot(host.vm, lab.slot),
    ]);
    expect(script.linesDone).toBe(4);
    expect(only(events, EventKind.retryWhen)).toMatchObject([
      { agent: 0, at: words.notifierCount, newLo: 1 },
    ]);
    const kinds = events.map(({ kind }) => kind);
    // One fault before the end, one after it.
    const end = kinds.indexOf(EventKind.notifierEnd);
    expect(kinds.slice(0, end).filter((kind) => kind === EventKind.faultBegin)).toHaveLength(1);
    expect(kinds.slice(end).filter((kind) => kind === EventKind.faultBegin)).toHaveLength(1);
    expect(guest.results).toEqual(['resume', 'resume']);
    expect(lab.counter(0, STATISTICS.retried)).toBe(1);
    // The one walk is the second fault's.
    expect(lab.counter(0, STATISTICS.walks)).toBe(1);
    expect([lab.leaf(RAM).level, lab.used('guest')]).toEqual([3, 1]);
  });
});

test('in 200 schedules of a fault and a discard no leaf and no TLB entry maps a page that is gone', () => {
  const lab = new Lab({ slots: [{ base: RAM, bytes: 2 * PAGE, logging: false }] });
  // So that the frame at stake is none that its next owner would get again.
  drive(new Guest(lab, 0).touch(RAM + PAGE, 'write'));
  lab.shared.explore.baseline();
  const ends = { mapped: 0, gone: 0, retried: 0 };
  for (let seed = 0; seed < 200; seed++) {
    lab.shared.explore.restore();
    const guest = new Guest(lab, 0);
    const host = lab.view();
    function* discard() {
      // The guest is ahead by more or less.
      for (let i = 0; i < seed % 64; i++) yield* load32(lab.world.layout.words.stop, Order.once);
      yield* discardSlot(host.vm, lab.slot);
    }
    lab.runWith(new RandomScheduler(seed), [() => guest.touch(RAM, 'write'), discard]);
    const leaf = lab.path(RAM).at(-1)?.value;
    const frame = lab.world.vm.parts.host.lookup(lab.slot.hva);
    const mapped = leaf?.isValid() === true ? leaf.address(GEOMETRY_4K) : NO_FRAME;
    expect({ seed, mapped }).toEqual({ seed, mapped: frame });
    expect({ seed, faults: drive(guest.touch(RAM, 'read')) }).toEqual({
      seed,
      faults: mapped === NO_FRAME ? 1 : 0,
    });
    ends[mapped === NO_FRAME ? 'gone' : 'mapped']++;
    ends.retried += lab.counter(0, STATISTICS.retried);
  }
  expect(ends).toEqual({ mapped: ends.retried, gone: 200 - ends.retried, retried: ends.retried });
  expect(Math.min(ends.mapped, ends.gone)).toBeGreaterThan(50);
});

describe('a mapping', () => {
  test.each<[AccessKind, boolean, string]>([
    ['read', false, '00400000800007ff'],
    ['write', false, '00400000800007ff'],
    ['exec', false, '00000000800007ff'],
    ['read', true, '004000008000077f'],
    ['write', true, '00400000800007ff'],
    ['exec', true, '000000008000077f'],
  ])('for a %s, logging %s', (kind, logging, leaf) => {
    const lab = logging ? loggingLab() : new Lab();
    const guest = new Guest(lab, 0);
    const events = lab.run(new Scripted([]), [() => guest.touch(RAM, kind)]);
    expect(lab.leaf(RAM)).toEqual({ level: 3, hex: leaf });
    expect(lab.slot.isDirty(0)).toBe(logging && kind === 'write');
    expect(only(events, EventKind.icacheInvalidate)).toHaveLength(kind === 'exec' ? 1 : 0);
    expect(only(events, EventKind.dcacheClean)).toHaveLength(1);
  });

  test('that exists is relaxed in place for an execution: X is added, W stays, no break', () => {
    const lab = loggingLab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    const events = inFaults(lab.run(new Scripted([]), [() => guest.touch(RAM, 'exec')]), 0);
    expect(guest.vcpu.fault.statusCode).toBe(0x0f);
    expect(lab.leaf(RAM).hex).toBe('00000000800007ff');
    expect(lab.entryStores(events)).toHaveLength(1);
    expect(only(events, EventKind.icacheInvalidate)).toHaveLength(1);
    expect(only(events, EventKind.dcacheClean)).toEqual([]);
  });

  test('marks the page of the slot, not of the guest, as dirty', () => {
    const lab = loggingLab();
    drive(new Guest(lab, 0).touch(RAM + 33 * PAGE, 'write'));
    const dirty = Array.from({ length: 1024 }, (_, page) => page).filter((page) =>
      lab.slot.isDirty(page),
    );
    expect(dirty).toEqual([33]);
  });

  test('of another page takes the host page of that address', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM + 5 * PAGE, 'write'));
    drive(guest.touch(RAM + 4 * PAGE, 'write'));
    const { hva } = lab.slot;
    const at = (page: number): Phys => lab.world.vm.parts.host.lookup((hva + page * PAGE) as Hva);
    expect([at(4), at(5), at(0)]).toEqual([0x8000_1000, 0x8000_0000, NO_FRAME]);
    expect(lab.leaf(RAM + 4 * PAGE).hex).toBe('00400000800017ff');
  });
});
