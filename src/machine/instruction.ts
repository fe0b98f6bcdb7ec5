/**
 * What the instructions of a guest ask of memory, and what their aborts say of them (Arm ARM D24.2.40, ISS of a data abort; specification
 * section 5B). Only a plain load or store of one general register has a valid syndrome.
 */
import type { AccessKind } from './cpu.ts';
import { transferSyndrome } from './syndrome.ts';

export interface Instruction {
  readonly name: string;
  /** The permissions it needs, in order: the first that fails is what the abort is about. */
  readonly accesses: readonly AccessKind[];
  /** ISS bits of a decoded transfer, or 0. */
  readonly transfer: number;
  /** Cache maintenance or address translation (ISS.CM). */
  readonly isMaintenance: boolean;
  /** What it does to the memory it reaches, and to a register. */
  readonly effect: Effect;
}

export type Effect = 'load' | 'store' | 'swap' | 'zero' | 'fetch' | 'none';

/** A load of `bytes` bytes (1, 2, 4, 8) into a general register. */
export function load(bytes: number, register: number): Instruction {
  return { ...plain('load', ['read'], 'load'), transfer: transferSyndrome(bytes, register) };
}

export function store(bytes: number, register: number): Instruction {
  return { ...plain('store', ['write'], 'store'), transfer: transferSyndrome(bytes, register) };
}

/** Loads and stores that write their base back, before or after. */
export const LOAD_INDEXED: Instruction = plain('indexed load', ['read'], 'load');
export const STORE_INDEXED: Instruction = plain('indexed store', ['write'], 'store');

/** CAS. A fault that a read would have met as well is reported as one of a read. */
export const COMPARE_AND_SWAP: Instruction = plain('compare and swap', ['read', 'write'], 'swap');

/** A store of zeros to a block of {@link ZVA_BYTES}: not cache maintenance in the architecture's eyes. */
export const DC_ZVA: Instruction = plain('DC ZVA', ['write'], 'zero');
/** DCZID_EL0.BS. */
export const ZVA_BYTES = 64;

/** DC CVAC and CIVAC: they need what a read needs. */
export const DC_CLEAN: Instruction = { ...plain('DC CVAC', ['read'], 'none'), isMaintenance: true };

/** AT S1E1R: stage 1 alone, so only its walk can abort. */
export const ADDRESS_TRANSLATE: Instruction = {
  ...plain('AT S1E1R', [], 'none'),
  isMaintenance: true,
};

export const FETCH: Instruction = plain('fetch', ['exec'], 'fetch');

function plain(name: string, accesses: readonly AccessKind[], effect: Effect): Instruction {
  return { name, accesses, transfer: 0, isMaintenance: false, effect };
}
