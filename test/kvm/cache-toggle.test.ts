/** Cache management (specification 5M): a vCPU initialised again, and ranges that are not mapped. */
import { drive, type Op } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { CacheTraps } from '../../src/kvm/cache-toggle.ts';
import { ioremap } from '../../src/kvm/ioremap.ts';
import type { HvaRange } from '../../src/kvm/host/mmu-notifier.ts';
import type { UserArea, UserAreas } from '../../src/kvm/user-areas.ts';
import type { Hva, Phys } from '../../src/machine/address.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';
import { cleaned, mappedPages, vmOf } from '../support/vm-of.ts';

/** Of what is asked for, the second page is a device. */
const DEVICE_INSIDE: UserAreas = {
  *lock({ hva }: HvaRange): Op<readonly UserArea[]> {
    const area = (page: number, pages: number, device: Phys | null): UserArea => {
      return { hva: (hva + page * PAGE) as Hva, bytes: pages * PAGE, device, isWritable: true };
    };
    return [area(-4, 5, null), area(1, 1, 0x800_0000 as Phys), area(2, 2 ** 20, null)];
  },
  *unlock(): Op<void> {},
};

test('without FWB everything is unmapped but devices, and cleaned; caches are off and TVM is set', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  for (const page of [0, 2, 1023]) drive(guest.touch(RAM + page * PAGE, 'write'));
  const vm = vmOf(lab.view(), { areas: DEVICE_INSIDE });
  drive(ioremap(vm, { ipa: RAM + PAGE, phys: 0x800_0000, bytes: PAGE, isWritable: true }));
  const traps = new CacheTraps(vm);
  drive(traps.toggle(true));
  const events = lab.run(new Scripted([]), [() => traps.reset()]);
  expect([mappedPages(lab, RAM, 1024), traps.isTvmSet]).toEqual([[1], true]);
  expect(cleaned(events)).toEqual(['80000 1000', '80001 1000', '80002 1000']);
  expect(only(events, EventKind.icacheInvalidate)).toEqual([]);
  // Off, as after a reset: enabling them is a change.
  const enabled = lab.run(new Scripted([]), [() => traps.toggle(true)]);
  expect([only(enabled, EventKind.walkBegin).length, traps.isTvmSet]).toEqual([1, false]);
});

test('with FWB the instruction caches are invalidated, and nothing else', () => {
  const machine = { ...PLAIN_4K, features: { ...PLAIN_4K.features, fwb: true } };
  const lab = new Lab({ machine });
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  const traps = new CacheTraps(lab.view().vm);
  const events = lab.run(new Scripted([]), [() => traps.reset()]);
  expect([mappedPages(lab, RAM, 1), traps.isTvmSet]).toEqual([[0], false]);
  expect([only(events, EventKind.icacheInvalidate).length, cleaned(events)]).toEqual([1, []]);
});
