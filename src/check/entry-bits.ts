/** Entries and events as checkers read them, from raw halves: no code shared with those who write them. */
import { RECORD } from '../engine/events.ts';

/** Bits that may change in place: S2AP and AF; XN and software's own (invariant 18). */
const IN_PLACE_LO = 0x4c0;
const IN_PLACE_HI = 0x7e0_0000;
const S2AP = 0xc0;
const AF = 0x400;
const LOCKED_LO = 0x400;
/** Who may execute by XN[1:0]: bit 0 EL0, bit 1 EL1. */
const EXECUTE = [3, 1, 0, 2] as const;
const XN_SHIFT = 21;

export function isValid(lo: number): boolean {
  return (lo & 1) !== 0;
}

/** Whether an entry of `level` points to a table. */
export function isTable(lo: number, level: number): boolean {
  return level < 3 && (lo & 3) === 3;
}

/** The state between break and make that 6.2 brought. */
export function isLocked(lo: number, hi: number): boolean {
  return lo === LOCKED_LO && hi === 0;
}

export function hasAccessFlag(lo: number): boolean {
  return (lo & AF) !== 0;
}

/** Whether two entries differ in bits at most that may change without a break. */
export function differInPlace(lo: number, hi: number, otherLo: number, otherHi: number): boolean {
  return ((lo ^ otherLo) & ~IN_PLACE_LO) === 0 && ((hi ^ otherHi) & ~IN_PLACE_HI) === 0;
}

/** Whether whatever the first leaf allows, the second one does. */
export function allowsNoMore(lo: number, hi: number, otherLo: number, otherHi: number): boolean {
  const isWithin = (lo & S2AP & ~otherLo) === 0;
  return isWithin && (executeOf(hi) & ~executeOf(otherHi)) === 0;
}

function executeOf(hi: number): number {
  return EXECUTE[(hi >>> XN_SHIFT) & 3] as number;
}

/** The address that a table entry names, which has 48 bits. */
export function tableAddress(lo: number, hi: number): number {
  return (hi & 0xffff) * 2 ** 32 + ((lo & ~0xfff) >>> 0);
}

/** The page that a fill or a use of a translation was for; its number's upper part is in `extra`, above the level. */
export function ipaOfTlbEvent(record: Int32Array, pageBytes: number): number {
  const high = (record[RECORD.extra] as number) >>> 2;
  return (high * 2 ** 32 + ((record[RECORD.newHi] as number) >>> 0)) * pageBytes;
}

export function hex(lo: number, hi: number): string {
  return `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
}
