import { describe, expect, test } from 'vitest';
import type { Level, Vmid } from '../../src/machine/address.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import {
  DESCRIPTOR_HI,
  DESCRIPTOR_LO,
  MISS,
  TranslationArray,
} from '../../src/machine/translation-array.ts';
import { TinyMachine } from '../support/tiny-machine.ts';

const ONE = 1 as Vmid;
const TWO = 2 as Vmid;
const SETS = 16;

function arrayOf(): { readonly machine: TinyMachine; readonly array: TranslationArray } {
  const machine = new TinyMachine();
  return { machine, array: new TranslationArray(machine.tableZone.contents, SETS, GEOMETRY_4K) };
}

function contentsOf(array: TranslationArray): unknown[] {
  const found: unknown[] = [];
  array.forEach((address, level, vmid, lo, hi) => found.push([address, level, vmid, lo, hi]));
  return found;
}

describe('an entry', () => {
  test('is found for every address of its block, with its descriptor', () => {
    const { machine, array } = arrayOf();
    const entry = array.fill(0x4020_3123, 3, ONE, 0x1234_5001, -5);
    expect(array.find(0x4020_3000, 3, ONE)).toBe(entry);
    expect(array.find(0x4020_3fff, 3, ONE)).toBe(entry);
    expect(machine.word(entry + DESCRIPTOR_LO)).toBe(0x1234_5001);
    expect(machine.word(entry + DESCRIPTOR_HI)).toBe(-5);
    expect([0x4020_2fff, 0x4020_4000].map((a) => array.find(a, 3, ONE))).toEqual([MISS, MISS]);
  });

  test('belongs to one VMID and one level', () => {
    const { array } = arrayOf();
    array.fill(0, 3, ONE, 1, 1);
    expect(array.find(0, 3, TWO)).toBe(MISS);
    // Number 0 at every level: only the level tells them apart.
    expect(([0, 1, 2] as const).map((level) => array.find(0, level, ONE))).toEqual([
      MISS,
      MISS,
      MISS,
    ]);
    expect(array.find(0, 3, ONE)).not.toBe(MISS);
  });

  test('that was never filled is not found, not even number 0', () => {
    const { array } = arrayOf();
    expect(array.find(0, 0, 0 as Vmid)).toBe(MISS);
    expect(contentsOf(array)).toEqual([]);
  });

  test('is evicted by one that shares its set', () => {
    const { array } = arrayOf();
    array.fill(0x1000, 3, ONE, 1, 1);
    array.fill(0x2000, 3, ONE, 2, 2);
    array.fill(0x1000 + SETS * 0x1000, 3, ONE, 3, 3);
    expect(array.find(0x1000, 3, ONE)).toBe(MISS);
    expect(contentsOf(array)).toEqual([
      [0x1_1000, 3, ONE, 3, 3],
      [0x2000, 3, ONE, 2, 2],
    ]);
  });

  test.each([
    ['bit 31 of the number', 0x8000_0000 * 4096],
    ['bit 32 of the number', 0x1_0000_0000 * 4096],
    ['the last page of 52 bits', 2 ** 52 - 4096],
  ])('of a high page is whole: %s', (_what, address) => {
    const { array } = arrayOf();
    const low = address % (0x1_0000_0000 * 4096);
    const entry = array.fill(address, 3, 0xffff as Vmid, 7, 8);
    expect(contentsOf(array)).toEqual([[address, 3, 0xffff, 7, 8]]);
    expect(array.find(address, 3, 0xffff as Vmid)).toBe(entry);
    expect(array.find(low, 3, 0xffff as Vmid)).toBe(low === address ? entry : MISS);
  });
});

function filled(): TranslationArray {
  const { array } = arrayOf();
  // Numbers 1, 2 (at levels 1 and 2) and 3: sets of their own.
  array.fill(0x4000_0000, 1, ONE, 1, 0);
  array.fill(0x40_0000, 2, ONE, 2, 0);
  array.fill(0x3000, 3, ONE, 3, 0);
  array.fill(0x4000, 3, TWO, 4, 0);
  array.fill(0x5000, 3, 0x8001 as Vmid, 5, 0);
  return array;
}

/** The low halves that an array holds, ascending. */
function left(array: TranslationArray): number[] {
  const found: number[] = [];
  array.forEach((_address, _level, _vmid, lo) => found.push(lo));
  return found.toSorted((a, b) => a - b);
}

describe('invalidation', () => {
  const levels: readonly Level[] = [1, 2, 3];

  test.each(levels)('at level %d drops the entry of that level alone', (level) => {
    const array = filled();
    const address = [0, 0x4000_1000, 0x40_1000, 0x3001][level] as number;
    for (const other of levels) if (other !== level) array.invalidate(address, other, ONE);
    expect(left(array)).toEqual([1, 2, 3, 4, 5]);
    array.invalidate(address, level, TWO);
    expect(left(array)).toEqual([1, 2, 3, 4, 5]);
    array.invalidate(address, level, ONE);
    expect(left(array)).toEqual([1, 2, 3, 4, 5].filter((lo) => lo !== level));
  });

  test('by VMID drops every entry of that VMID alone', () => {
    const array = filled();
    array.invalidateVmid(ONE);
    expect(left(array)).toEqual([4, 5]);
    array.invalidateVmid(0x8001 as Vmid);
    expect(left(array)).toEqual([4]);
  });

  test('by VMID reads all sixteen bits of it', () => {
    const bits = Array.from({ length: 16 }, (_, i) => i);
    for (const bit of bits) {
      const { array } = arrayOf();
      for (const other of bits) array.fill(other * 0x1000, 3, (2 ** other) as Vmid, other, 0);
      array.invalidateVmid((2 ** bit) as Vmid);
      expect(left(array)).toEqual(bits.filter((other) => other !== bit));
      array.invalidateVmid(0 as Vmid);
      expect(left(array)).toHaveLength(15);
    }
  });

  test('of all leaves nothing', () => {
    const array = filled();
    array.invalidateAll();
    expect(left(array)).toEqual([]);
    expect(array.find(0x3000, 3, ONE)).toBe(MISS);
  });
});

test('an array stays inside its words', () => {
  const { machine, array } = arrayOf();
  const end = (machine.tableZone.contents + SETS * 16) >>> 2;
  machine.memory.words.fill(-1, end, end + 8);
  for (let page = 0; page < 2 * SETS; page++) array.fill(page * 4096, 3, ONE, page, page);
  array.invalidateVmid(ONE);
  array.invalidateAll();
  expect([...machine.memory.words.subarray(end, end + 8)]).toEqual(Array(8).fill(-1));
});
