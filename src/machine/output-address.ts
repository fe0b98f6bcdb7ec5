/**
 * Where a descriptor keeps its output address (Arm ARM D8.3; specification section 1.2). The bits up to 47 stand in place; those above
 * fold into lower ones: with the 64K granule OA[51:48] in bits 15:12, with LPA2 OA[51:50] in bits 9:8.
 */
import { HIGH_WEIGHT, highHalf, lowHalf, type Phys } from './address.ts';

export class OutputAddressFormat {
  /** Bits of the low half that hold the address in place, and of the high half. */
  readonly #loMask: number;
  readonly #hiMask: number;
  /** Where the folded bits stand in the low half, after their shift. */
  readonly #foldShift: number;
  readonly #foldMask: number;
  /** The lowest folded bit, counted in the high half of the address, and its weight. */
  readonly #foldFrom: number;
  readonly #foldWeight: number;

  /** `pageShift`: 12, 14 or 16. `lpa2` means nothing with the 64K granule. */
  constructor(pageShift: number, lpa2: boolean) {
    const is64K = pageShift === 16;
    const isWide = lpa2 && !is64K;
    this.#loMask = -(2 ** pageShift);
    this.#hiMask = isWide ? 0x3_ffff : 0xffff;
    this.#foldShift = is64K ? 12 : 8;
    this.#foldMask = is64K ? 0xf : isWide ? 0x3 : 0;
    this.#foldFrom = is64K ? 16 : 18;
    this.#foldWeight = HIGH_WEIGHT * 2 ** this.#foldFrom;
  }

  /** The address field's part of the low half. */
  lo(address: Phys): number {
    const folded = (highHalf(address) >>> this.#foldFrom) & this.#foldMask;
    return (lowHalf(address) & this.#loMask) | (folded << this.#foldShift);
  }

  /** The address field's part of the high half. */
  hi(address: Phys): number {
    return highHalf(address) & this.#hiMask;
  }

  /** The address in a descriptor's halves. */
  address(lo: number, hi: number): Phys {
    const folded = (lo >>> this.#foldShift) & this.#foldMask;
    const low = (lo & this.#loMask) >>> 0;
    return (folded * this.#foldWeight + (hi & this.#hiMask) * HIGH_WEIGHT + low) as Phys;
  }
}
