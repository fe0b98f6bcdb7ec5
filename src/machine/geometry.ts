/**
 * The shape of translation tables for one granule (Arm ARM D8.2; specification section 1.1): sizes, indices, block levels, and where
 * descriptors keep addresses. Pure arithmetic; every configuration of the architecture comes from the page shift and LPA2.
 */
import type { Level } from './address.ts';
import { OutputAddressFormat } from './output-address.ts';

/** Bytes of a table descriptor. */
export const DESCRIPTOR_BYTES = 8;
/** The level whose leaves are pages. */
export const LAST_LEVEL: Level = 3;

export class Geometry {
  /** 12, 14 or 16. */
  readonly pageShift: number;
  readonly pageBytes: number;
  /** Entries of one table page. */
  readonly entries: number;
  /** Lowest level at which KVM makes a block: 1 for 4K, 2 for 16K and 64K. */
  readonly blockLevelMin: Level;
  /** 52-bit addresses in the descriptors of the 4K or 16K granule (FEAT_LPA2): SH has no bits then. */
  readonly lpa2: boolean;
  readonly outputAddress: OutputAddressFormat;
  /** Bytes mapped by one entry, per level. */
  readonly #bytes: readonly number[];
  readonly #inverse: readonly number[];
  readonly #indexMask: number;

  /** `lpa2`: not with the 64K granule, whose descriptors hold 52 bits as they are. */
  constructor(pageShift: number, lpa2 = false) {
    if (lpa2 && pageShift === 16) throw new Error('LPA2 is for the 4K and 16K granules');
    this.pageShift = pageShift;
    this.lpa2 = lpa2;
    this.outputAddress = new OutputAddressFormat(pageShift, lpa2);
    this.pageBytes = 2 ** pageShift;
    this.entries = this.pageBytes / DESCRIPTOR_BYTES;
    this.blockLevelMin = pageShift === 12 ? 1 : 2;
    const shifts = [0, 1, 2, 3].map((level) => (4 - level) * (pageShift - 3) + 3);
    this.#bytes = shifts.map((shift) => 2 ** shift);
    this.#inverse = shifts.map((shift) => 2 ** -shift);
    this.#indexMask = this.entries - 1;
  }

  /** Bytes mapped by one entry at `level`. */
  sizeOf(level: Level): number {
    return this.#bytes[level] as number;
  }

  /** Number of the entry-sized block of `level` that holds `address`: address / size, rounded down. */
  blockNumber(address: number, level: Level): number {
    return Math.floor(address * (this.#inverse[level] as number));
  }

  /** Index of `address` in a table at `level` (not the root, which may be several pages). */
  indexOf(address: number, level: Level): number {
    return Math.floor(address * (this.#inverse[level] as number)) & this.#indexMask;
  }

  /** Which page of a concatenated root at `level` holds the entry of `address`. */
  rootPage(address: number, level: Level): number {
    return Math.floor((address * (this.#inverse[level] as number)) / this.entries);
  }

  /** `address` rounded down to an entry of `level`. */
  alignDown(address: number, level: Level): number {
    return Math.floor(address * (this.#inverse[level] as number)) * (this.#bytes[level] as number);
  }

  isAligned(address: number, level: Level): boolean {
    return this.alignDown(address, level) === address;
  }

  pageDown(address: number): number {
    return this.alignDown(address, LAST_LEVEL);
  }

  pageUp(address: number): number {
    return this.alignDown(address + this.pageBytes - 1, LAST_LEVEL);
  }
}

/** 4K granule. */
export const GEOMETRY_4K: Geometry = new Geometry(12);

/** Shape of a stage-2 root (specification section 1.7). */
export interface RootShape {
  readonly startLevel: Level;
  /** Concatenated pages of the root: 1 to 16. */
  readonly pages: number;
}

/**
 * Levels and root of a stage-2 table for `ipaBits` bits of IPA (Arm ARM D8.2.7, concatenated tables): up to 16 root pages
 * save a level. At least two levels, so that a host's PMD-sized page can be a block.
 */
export function stage2Root(geometry: Geometry, ipaBits: number): RootShape {
  const levels = Math.max(2, Math.floor((ipaBits - 8) / (geometry.pageShift - 3)));
  const startLevel = (4 - levels) as Level;
  const perPage = geometry.sizeOf(startLevel) * geometry.entries;
  return { startLevel, pages: Math.ceil(2 ** ipaBits / perPage) };
}
