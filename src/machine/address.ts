/**
 * Addresses of the simulated machine: branded numbers, at most 52 bits, exact in a double. Split and align them with
 * powers of two; 32-bit shifts would lose bits.
 */
declare const brand: unique symbol;

/** Intermediate physical address: what a guest calls physical. */
export type Ipa = number & { readonly [brand]: 'Ipa' };
/** Virtual address of a guest: what its stage 1 translates. */
export type Va = number & { readonly [brand]: 'Va' };
/** Physical address of the simulated machine. */
export type Phys = number & { readonly [brand]: 'Phys' };
/** Virtual address in the host's user space. */
export type Hva = number & { readonly [brand]: 'Hva' };
/** Guest frame number: an IPA in pages. */
export type Gfn = number & { readonly [brand]: 'Gfn' };
/** Identifies a VM's entries in a TLB. */
export type Vmid = number & { readonly [brand]: 'Vmid' };
/** Identifies an address space of a guest in a TLB: 8 bits. */
export type Asid = number & { readonly [brand]: 'Asid' };
/** Level of a table: 0 to 3; leaves of level 3 are pages. */
export type Level = 0 | 1 | 2 | 3;

export const ipa = (value: number): Ipa => value as Ipa;
export const phys = (value: number): Phys => value as Phys;

/** 2^32, the weight of a high half. */
export const HIGH_WEIGHT = 0x1_0000_0000;

const HIGH_INVERSE = 1 / HIGH_WEIGHT;

/** Bits 31:0 of an address, as a signed half. */
export function lowHalf(address: number): number {
  return address | 0;
}

/** Bits 63:32 of an address. */
export function highHalf(address: number): number {
  return Math.floor(address * HIGH_INVERSE);
}
