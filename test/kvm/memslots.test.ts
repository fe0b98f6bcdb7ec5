/** Which guest frames exist and what is behind them (specification 5A). */
import { drive, read32 } from '#port';
import { expect, test } from 'vitest';
import { dirtyBitmapBytes, Memslots, type Memslot } from '../../src/kvm/memslots.ts';
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
      drive(memslots.lookup(gfn(before)));
      const found = drive(memslots.lookup(gfn(frame)));
      expect([before, frame, found === slot]).toEqual([before, frame, true]);
    }
  }
});

test('user addresses follow one another, each slot its own stretch', () => {
  const [, first, second] = slotsOf(new Lab({ slots }));
  expect(first.hvaOf(gfn(0x102)) - first.layout.hva).toBe(2 * PAGE);
  expect(second.layout.hva - first.layout.hva).toBe(3 * PAGE);
  expect([second.ipa, second.bytes]).toEqual([0x10_5000, 65 * PAGE]);
});

test('the flag and every dirty bit are of their own slot and page', () => {
  const lab = new Lab({ slots });
  const [, first, second] = slotsOf(lab);
  expect([first.isLogging(), second.isLogging()]).toEqual([false, false]);
  drive(second.enableLogging());
  expect([first.isLogging(), second.isLogging()]).toEqual([false, true]);
  for (const page of [0, 31, 32, 64]) drive(second.markDirty(gfn(0x105 + page)));
  drive(second.markDirty(gfn(0x105 + 31)));
  const dirty = Array.from({ length: 65 }, (_, page) => page).filter((page) =>
    second.isDirty(page),
  );
  expect(dirty).toEqual([0, 31, 32, 64]);
  expect([0, 1, 2].some((page) => first.isDirty(page))).toBe(false);
  const words = [0, 4, 8].map((at) => read32(second.layout.dirtyBitmap + at));
  expect(words).toEqual([0x8000_0001 | 0, 1, 1]);
});

test.each([
  [1, 4],
  [32, 4],
  [33, 8],
  [65, 12],
])('a bitmap for %i pages has %i bytes', (pages, bytes) => {
  expect(dirtyBitmapBytes(pages)).toBe(bytes);
});
