/** Mapping before the guest touches memory: how far it gets, and what it says (the rows of the kernel's pre_fault_memory_test). */
import { drive, read32, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { migratePage } from '../../src/kvm/host/migrate.ts';
import { preFaultMemory } from '../../src/kvm/pre-fault.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { Guest, Lab, MIB, PAGE, RAM, toLock } from '../support/lab.ts';
import { mappedPages, pagesOf } from '../support/vm-of.ts';

const PAGES = 8;

function labOf(overrides: Partial<Scenario> = {}): Lab {
  const slots = [{ base: RAM, bytes: PAGES * PAGE, logging: false }];
  return new Lab({ slots, frames: 16, ...overrides });
}

/** Maps pages of the lab's slot from `page` on. */
function preFault(lab: Lab, page: number, pages: number): ReturnType<typeof preFaultMemory> {
  const guest = new Guest(lab, 0);
  return preFaultMemory(guest.world.vm, guest.vcpu, {
    ipa: RAM + page * PAGE,
    bytes: pages * PAGE,
  });
}

test('maps all of a range, so that no read faults', () => {
  const lab = labOf();
  expect(drive(preFault(lab, 1, 3))).toEqual({ left: 0, error: null });
  expect(mappedPages(lab, RAM, PAGES)).toEqual([1, 2, 3]);
  const guest = new Guest(lab, 1);
  expect(drive(guest.touch(RAM + 2 * PAGE, 'read'))).toBe(0);
  expect(drive(guest.touch(RAM, 'read'))).toBe(1);
});

test('goes up to the end of the slot, and says so with the next call', () => {
  const lab = labOf();
  expect(drive(preFault(lab, PAGES - 1, 2))).toEqual({ left: PAGE, error: null });
  expect(drive(preFault(lab, PAGES, 1))).toEqual({ left: PAGE, error: 'noEntry' });
});

test.each([
  [0, 0],
  [RAM + 8, PAGE],
  [RAM, PAGE + 8],
])('0x%x and %i bytes are no pages', (ipa, bytes) => {
  const { vcpu, world } = new Guest(labOf(), 0);
  expect(drive(preFaultMemory(world.vm, vcpu, { ipa, bytes }))).toEqual({
    left: bytes,
    error: 'invalid',
  });
});

test('a block is one step, from inside it too', () => {
  const backing = { kind: 'hugetlb', pageBytes: 2 * MIB, offset: 0 } as const;
  const slots = [{ base: RAM, bytes: 4 * MIB, logging: false, backing }];
  const lab = labOf({ slots, frames: 1200 });
  expect(drive(preFault(lab, 5, 512))).toEqual({ left: 0, error: null });
  expect([lab.leaf(RAM).level, lab.leaf(RAM + 2 * MIB).level]).toEqual([2, 2]);
  expect(mappedPages(lab, RAM + 2 * MIB, 1)).toEqual([0]);
});

test.each(['legacy', '5.10'] as const)('%s: a page that is writable stays so', (kvm) => {
  const slots = [{ base: RAM, bytes: PAGES * PAGE, logging: true }];
  const lab = labOf({ kvm, slots });
  drive(new Guest(lab, 1).touch(RAM, 'write'));
  const before = lab.leaf(RAM);
  expect(drive(preFault(lab, 0, 2))).toEqual({ left: 0, error: null });
  expect([lab.leaf(RAM), lab.slot.isDirty(1)]).toEqual([before, false]);
});

describe('what cannot be mapped', () => {
  test('memory that user space has to bring: it is told where', () => {
    const userfault = { mode: 'missing', queue: 'exit' } as const;
    const lab = labOf({ slots: [{ base: RAM, bytes: PAGES * PAGE, logging: false, userfault }] });
    const { vcpu, world } = new Guest(lab, 0);
    const range = { ipa: RAM + PAGE, bytes: PAGE };
    expect(drive(preFaultMemory(world.vm, vcpu, range))).toEqual({ left: PAGE, error: 'fault' });
    expect(vcpu.exit).toEqual({ reason: 'memoryFault', ipa: RAM + PAGE, bytes: PAGE });
  });

  test('a host without frames: what is left is told, and the error with the next call', () => {
    const lab = labOf();
    lab.drain('guest', 2);
    expect(drive(preFault(lab, 0, 4))).toEqual({ left: 2 * PAGE, error: null });
    expect(drive(preFault(lab, 2, 2))).toEqual({ left: 2 * PAGE, error: 'fault' });
    expect(mappedPages(lab, RAM, PAGES)).toEqual([0, 1]);
  });

  test('a table that is gone', () => {
    const lab = labOf();
    drive(lab.world.vm.freeStage2());
    expect(drive(preFault(lab, 0, 1))).toEqual({ left: PAGE, error: 'fault' });
  });
});

test('a page that the host takes away meanwhile is mapped all the same', () => {
  const lab = labOf();
  const host = lab.view(2);
  let left = -1;
  // The lock is taken and given back for the look at the table, then taken for the page.
  const once = [toLock(lab, 0), { agent: 0, steps: 1 }];
  const script: ScriptLine[] = [...once, ...once, toLock(lab, 0), { agent: 1, toEnd: true }];
  lab.run(new Scripted(script), [
    function* map(): Op<void> {
      ({ left } = yield* preFault(lab, 0, 1));
    },
    () => migratePage(host.vm.parts.host.mm, pagesOf(lab.slot, 0).hva),
  ]);
  expect([left, mappedPages(lab, RAM, 1)]).toEqual([0, [0]]);
  expect(read32(lab.world.layout.words.notifierSequence)).toBe(1);
});

test('100 schedules of two that map and a host that moves pages: all are mapped by their own frames', () => {
  const backing = { kind: 'shared', pageBytes: PAGE, offset: 0 } as const;
  const slots = [{ base: RAM, bytes: PAGES * PAGE, logging: false, backing }];
  const lab = labOf({ slots, frames: 30 });
  lab.shared.explore.baseline();
  for (let seed = 0; seed < 100; seed++) {
    lab.shared.explore.restore();
    const host = lab.view(2);
    const mapper = (id: number) =>
      function* run(): Op<void> {
        const guest = new Guest(lab, id);
        const range = { ipa: RAM, bytes: 3 * PAGE };
        const { left } = yield* preFaultMemory(guest.world.vm, guest.vcpu, range);
        if (left !== 0) throw new Error(`${left} bytes left`);
      };
    lab.runWith(new RandomScheduler(seed), [
      mapper(0),
      mapper(1),
      function* move(): Op<void> {
        for (const page of [0, 1, 2])
          yield* migratePage(host.vm.parts.host.mm, pagesOf(lab.slot, page).hva);
      },
    ]);
    for (const page of mappedPages(lab, RAM, 3)) {
      const frame = lab.world.vm.parts.host.lookup(pagesOf(lab.slot, page).hva);
      const leaf = lab.path(RAM + page * PAGE).at(-1)?.value;
      expect([seed, leaf?.address(lab.world.vm.parts.geometry)]).toEqual([seed, frame]);
    }
  }
});
