/**
 * A direct-mapped array of cached translations in shared memory: the shape of a TLB and of a walk cache. It belongs to one
 * CPU, whose agent alone touches it, so its words are plain.
 *
 * An entry holds the input block's number, a key (valid, level, VMID, high bits of the number), and the descriptor.
 */
import { read32, write32, type Word } from '#port';
import { HIGH_WEIGHT, type Level, type Vmid } from './address.ts';
import type { Geometry } from './geometry.ts';

export const TRANSLATION_BYTES = 16;
/** Offset of the descriptor's halves in an entry. */
export const DESCRIPTOR_LO = 8;
export const DESCRIPTOR_HI = 12;

const KEY = 4;
const VALID = 1;
const LEVEL_SHIFT = 1;
const VMID_SHIFT = 3;
const VMID_MASK = 0xffff << VMID_SHIFT;
const NUMBER_HIGH_SHIFT = 19;
const LEVEL_SPREAD = 21;

/** Where nothing was found. */
export const MISS: Word = 0;

export class TranslationArray {
  readonly #base: Word;
  readonly #sets: number;
  readonly #geometry: Geometry;

  /** `base`: `sets * TRANSLATION_BYTES` zeroed bytes, not at offset 0; `sets` is a power of two. */
  constructor(base: Word, sets: number, geometry: Geometry) {
    this.#base = base;
    this.#sets = sets;
    this.#geometry = geometry;
  }

  /** The entry that translates `address` at `level` for `vmid`, or {@link MISS}. */
  find(address: number, level: Level, vmid: Vmid): Word {
    const number = this.#geometry.blockNumber(address, level);
    const entry = this.#entryOf(number, level);
    const matches =
      read32(entry) === (number | 0) && read32(entry + KEY) === keyOf(number, level, vmid);
    return matches ? entry : MISS;
  }

  /** Caches a descriptor's halves; evicts whatever shared its set. Gives the entry. */
  fill(address: number, level: Level, vmid: Vmid, lo: number, hi: number): Word {
    const number = this.#geometry.blockNumber(address, level);
    const entry = this.#entryOf(number, level);
    write32(entry, number | 0);
    write32(entry + KEY, keyOf(number, level, vmid));
    write32(entry + DESCRIPTOR_LO, lo);
    write32(entry + DESCRIPTOR_HI, hi);
    return entry;
  }

  /** Drops the entry for `address` at `level`, if there is one. */
  invalidate(address: number, level: Level, vmid: Vmid): void {
    const entry = this.find(address, level, vmid);
    if (entry !== MISS) write32(entry + KEY, 0);
  }

  /** Drops every entry of `vmid`. */
  invalidateVmid(vmid: Vmid): void {
    for (let set = 0; set < this.#sets; set++) {
      const key = this.#base + set * TRANSLATION_BYTES + KEY;
      if ((read32(key) & (VMID_MASK | VALID)) === ((vmid << VMID_SHIFT) | VALID)) write32(key, 0);
    }
  }

  /** Drops every entry of `vmid` that covers an address of [`first`, `end`). */
  invalidateRange(first: number, end: number, vmid: Vmid): void {
    this.forEach((address, level, owner) => {
      const isInside = address < end && address + this.#geometry.sizeOf(level) > first;
      if (isInside && owner === vmid) this.invalidate(address, level, vmid);
    });
  }

  /** Evicts whatever is in one set; `choice` is taken modulo their number. */
  evict(choice: number): void {
    write32(this.#base + (choice & (this.#sets - 1)) * TRANSLATION_BYTES + KEY, 0);
  }

  invalidateAll(): void {
    for (let set = 0; set < this.#sets; set++)
      write32(this.#base + set * TRANSLATION_BYTES + KEY, 0);
  }

  /** Every valid entry: `visit(address, level, vmid, lo, hi)`. */
  forEach(
    visit: (address: number, level: Level, vmid: Vmid, lo: number, hi: number) => void,
  ): void {
    for (let set = 0; set < this.#sets; set++) {
      const entry = this.#base + set * TRANSLATION_BYTES;
      const key = read32(entry + KEY);
      if ((key & VALID) === 0) continue;
      const level = ((key >>> LEVEL_SHIFT) & 3) as Level;
      const number = (read32(entry) >>> 0) + (key >>> NUMBER_HIGH_SHIFT) * HIGH_WEIGHT;
      const vmid = ((key & VMID_MASK) >>> VMID_SHIFT) as Vmid;
      const address = number * this.#geometry.sizeOf(level);
      visit(address, level, vmid, read32(entry + DESCRIPTOR_LO), read32(entry + DESCRIPTOR_HI));
    }
  }

  /** Levels are spread, so that the tables on the way to one address do not evict one another. */
  #entryOf(number: number, level: Level): Word {
    return this.#base + ((number + level * LEVEL_SPREAD) & (this.#sets - 1)) * TRANSLATION_BYTES;
  }
}

function keyOf(number: number, level: Level, vmid: Vmid): number {
  const numberHigh = Math.floor(number / HIGH_WEIGHT);
  return VALID | (level << LEVEL_SHIFT) | (vmid << VMID_SHIFT) | (numberHigh << NUMBER_HIGH_SHIFT);
}
