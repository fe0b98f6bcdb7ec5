/**
 * An entry of the host page table, one word: bits 2:0 state, 3 writable, 4 young, 5 dirty, 31:6 a number. 0 is an empty entry.
 *
 * | state | number |
 * |---|---|
 * | `page`, `zero` | frame of the guest zone; of a block the first. `zero`: the page everybody shares, not counted |
 * | `device` | page frame number of the machine, of a range without reference counts |
 * | `swapped` | place in the swap zone |
 * | `poisoned`, `migrating` | frame that was here; `migrating` keeps the flags, and whoever faults waits |
 */
declare const brand: unique symbol;

export type HostPte = number & { readonly [brand]: 'HostPte' };

export const HostState = {
  none: 0,
  page: 1,
  zero: 2,
  device: 3,
  swapped: 4,
  poisoned: 5,
  migrating: 6,
} as const;
export type HostState = (typeof HostState)[keyof typeof HostState];

export const HostFlag = { writable: 8, young: 16, dirty: 32 } as const;

/** Entries hold numbers below this. */
export const HOST_NUMBERS: number = 2 ** 26;
/** Bytes of an entry. */
export const HOST_PTE_BYTES = 4;
export const NO_PTE: HostPte = 0 as HostPte;

const STATE = 7;
const FLAGS = HostFlag.writable | HostFlag.young | HostFlag.dirty;
const NUMBER_SHIFT = 6;

/** `flags`: of {@link HostFlag}. */
export function hostPte(state: HostState, number: number, flags: number): HostPte {
  return ((number << NUMBER_SHIFT) | flags | state) as HostPte;
}

export function stateOf(pte: HostPte): HostState {
  return (pte & STATE) as HostState;
}

export function numberOf(pte: HostPte): number {
  return pte >>> NUMBER_SHIFT;
}

export function flagsOf(pte: HostPte): number {
  return pte & FLAGS;
}

export function isWritable(pte: HostPte): boolean {
  return (pte & HostFlag.writable) !== 0;
}

export function isYoung(pte: HostPte): boolean {
  return (pte & HostFlag.young) !== 0;
}

/** The entry with exactly these flags. */
export function withFlags(pte: HostPte, flags: number): HostPte {
  return ((pte & ~FLAGS) | flags) as HostPte;
}

/** The entry in another state, number and flags kept. */
export function inState(pte: HostPte, state: HostState): HostPte {
  return ((pte & ~STATE) | state) as HostPte;
}
