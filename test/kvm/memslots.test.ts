/** Which guest frames exist and what is behind them (specification 5A). */
import { drive, type Op } from '#port';
import { expect, test } from 'vitest';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { Memslots, SlotFlag, type Memslot } from '../../src/kvm/memslots.ts';
import type { Gfn } from '../../src/machine/address.ts';
import { Lab, PAGE } from '../support/lab.ts';

const gfn = (value: number): Gfn => value as Gfn;
const slots = [
  { base: 0x10_0000, bytes: 3 * PAGE, logging: false },
  { base: 0x10_5000, bytes: 65 * PAGE, logging: false },
];

function slotsOf(lab: Lab): readonly [Memslots, Memslot, Memslot] {
  const { memslots } = lab.world.vm.parts;
  return [memslots, memslots.slots[0] as Memslot, memslots.slots[1] as Memslot];
}

function* lookup(memslots: Memslots, frame: number): Op<Memslot | undefined> {
  yield* memslots.readLock();
  const slot = yield* memslots.lookup(gfn(frame));
  yield* memslots.readUnlock();
  return slot;
}

test('a lookup answers for the slot of the frame, before or after another lookup', () => {
  const [memslots, first, second] = slotsOf(new Lab({ slots }));
  const expected = new Map<number, Memslot | undefined>([
    [0xff, undefined],
    [0x100, first],
    [0x102, first],
    [0x103, undefined],
    [0x104, undefined],
    [0x105, second],
    [0x145, second],
    [0x146, undefined],
  ]);
  for (const [before] of expected) {
    for (const [frame, slot] of expected) {
      drive(lookup(memslots, before));
      const found = drive(lookup(memslots, frame));
      expect([before, frame, found === slot]).toEqual([before, frame, true]);
    }
  }
});

test('user addresses follow one another, each slot its own stretch', () => {
  const [, first, second] = slotsOf(new Lab({ slots }));
  expect(first.hvaOf(gfn(0x102)) - first.hva).toBe(2 * PAGE);
  expect(second.hva - first.hva).toBe(3 * PAGE);
  expect([second.ipa, second.bytes]).toEqual([0x10_5000, 65 * PAGE]);
});

test('a lookup needs a read section, a change the lock', () => {
  const [memslots] = slotsOf(new Lab({ slots }));
  expect(() => drive(memslots.lookup(gfn(0x100)))).toThrow('not open');
  expect(() => drive(memslots.allLocked())).toThrow('not held');
  expect(() => drive(memslots.publish([]))).toThrow('not held');
});

test('a slot is what it was when it was found; the next lookup finds the new one', () => {
  const lab = new Lab({ slots });
  const [memslots, first] = slotsOf(lab);
  const { id, ipa, bytes, hva } = first;
  const flags = SlotFlag.logDirty;
  expect(drive(setMemoryRegion(lab.world.vm, { id, ipa, bytes, hva, flags }))).toBe('ok');
  const now = drive(lookup(memslots, 0x100)) as Memslot;
  expect([first.isLogging(), now.isLogging()]).toEqual([false, true]);
  expect(drive(lookup(memslots, 0x105))).toMatchObject({ id: 1, flags: 0 });
});

test('a slot that is read-only has no log, be its bitmap what it may', () => {
  const lab = new Lab({ slots });
  const { vm } = lab.world;
  const region = { id: 2, ipa: 0, bytes: PAGE, hva: 0x7f00_0000_0000 };
  drive(setMemoryRegion(vm, { ...region, flags: SlotFlag.readonly | SlotFlag.logDirty }));
  const slot = drive(lookup(vm.parts.memslots, 0)) as Memslot;
  expect([slot.isReadonly, slot.hasBitmap, slot.isLogging()]).toEqual([true, true, false]);
});

test('dirty bits are of their own slot and page, and of no slot without a bitmap', () => {
  const lab = new Lab({ slots: slots.map((slot) => ({ ...slot, logging: true })) });
  const [, first, second] = slotsOf(lab);
  for (const page of [0, 31, 32, 64]) drive(second.markDirty(gfn(0x105 + page)));
  const dirty = Array.from({ length: 65 }, (_, page) => page).filter((p) => second.isDirty(p));
  expect(dirty).toEqual([0, 31, 32, 64]);
  expect([0, 1, 2].some((page) => first.isDirty(page))).toBe(false);
  for (const outside of [0x104, 0x146])
    expect(() => drive(second.markDirty(gfn(outside)))).toThrow('no dirty bit');
  const [, plain] = slotsOf(new Lab({ slots }));
  expect(() => drive(plain.markDirty(plain.baseGfn))).toThrow('no dirty bit');
});
