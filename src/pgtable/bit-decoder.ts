/**
 * What the bits of stage-2 entries and of VTCR_EL2 and VTTBR_EL2 mean, as data, for dumps (Arm ARM D8.3, D24.2.200, .201; specification
 * sections 1.2 to 1.6). Decodes raw 64-bit values by itself, so that a dump also shows what should never be set. BigInt: for
 * people and files, never on a fault's path.
 */
import type { Level } from '../machine/address.ts';
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';

/** A field of a 64-bit value. */
export interface BitField {
  /** As the Arm manual calls it. */
  readonly name: string;
  readonly high: number;
  readonly low: number;
  /** What values mean; a value that is not here stands for itself. */
  readonly meanings?: Readonly<Record<number, string>>;
  /** Left out while 0: Linux never sets it. */
  readonly isRare?: true;
  /** An address, shown in place: its low bits stand for 0. */
  readonly isAddress?: true;
}

/** Fields by name, a meaning or a number each. */
export type Decoded = Readonly<Record<string, string | number>>;

const SHAREABILITY = { 0: 'none', 2: 'outer', 3: 'inner' } as const;
const CACHEABILITY = { 0: 'NC', 1: 'WBWA', 2: 'WT', 3: 'WB' } as const;

/** Attributes of a stage-2 block or page; the output address, the type and the valid bit are decoded apart. */
export const STAGE2_LEAF: readonly BitField[] = [
  {
    name: 'MemAttr',
    high: 5,
    low: 2,
    meanings: {
      0x0: 'Device-nGnRnE',
      0x1: 'Device-nGnRE',
      0x2: 'Device-nGRE',
      0x3: 'Device-GRE',
      0x5: 'Normal-NC',
      0x6: 'Normal-WB-forced',
      0xf: 'Normal-WB',
    },
  },
  { name: 'S2AP', high: 7, low: 6, meanings: { 0: 'none', 1: 'RO', 2: 'WO', 3: 'RW' } },
  { name: 'SH', high: 9, low: 8, meanings: SHAREABILITY },
  { name: 'AF', high: 10, low: 10 },
  // Who may not execute.
  { name: 'XN', high: 54, low: 53, meanings: { 0: 'no', 1: 'EL1', 2: 'yes', 3: 'EL0' } },
  { name: 'FnXS', high: 11, low: 11, isRare: true },
  { name: 'DBM', high: 51, low: 51, isRare: true },
  { name: 'Contiguous', high: 52, low: 52, isRare: true },
  { name: 'SW', high: 58, low: 55, isRare: true },
  { name: 'PBHA', high: 62, low: 59, isRare: true },
];

/** Of a block only: in a page the bit belongs to the output address. */
export const STAGE2_BLOCK: readonly BitField[] = [{ name: 'nT', high: 16, low: 16, isRare: true }];

/** A table pointer has no attributes: KVM sets no bit beside type, valid and address. */
const STAGE2_TABLE: readonly BitField[] = [];

/** VTCR_EL2. SL0 counts down from 2 (4K) or 3 (16K, 64K). */
export const VTCR: readonly BitField[] = [
  { name: 'T0SZ', high: 5, low: 0 },
  { name: 'SL0', high: 7, low: 6 },
  { name: 'IRGN0', high: 9, low: 8, meanings: CACHEABILITY },
  { name: 'ORGN0', high: 11, low: 10, meanings: CACHEABILITY },
  { name: 'SH0', high: 13, low: 12, meanings: SHAREABILITY },
  { name: 'TG0', high: 15, low: 14, meanings: { 0: '4K', 1: '64K', 2: '16K' } },
  {
    name: 'PS',
    high: 18,
    low: 16,
    meanings: {
      0: '32-bit',
      1: '36-bit',
      2: '40-bit',
      3: '42-bit',
      4: '44-bit',
      5: '48-bit',
      6: '52-bit',
    },
  },
  { name: 'VS', high: 19, low: 19, meanings: { 0: '8-bit', 1: '16-bit' } },
  { name: 'HA', high: 21, low: 21 },
  { name: 'HD', high: 22, low: 22, isRare: true },
  { name: 'DS', high: 32, low: 32 },
];
/** RES1: is `other` when it is clear. */
const VTCR_RES1 = 1n << 31n;

export const VTTBR: readonly BitField[] = [
  { name: 'VMID', high: 63, low: 48 },
  { name: 'BADDR', high: 47, low: 1, isAddress: true },
  { name: 'CnP', high: 0, low: 0 },
];

/** What an entry is when it translates nothing: the first kind whose bits fit. */
interface InvalidKind {
  readonly name: string;
  readonly mask: bigint;
  readonly value: bigint;
  /** Bits of the owner's number. */
  readonly owner?: BitField;
}

const ALL = 2n ** 64n - 1n;
const OWNER: BitField = { name: 'owner', high: 9, low: 2 };

/** Entries without the valid bit (specification section 1.5). */
const INVALID: readonly InvalidKind[] = [
  { name: 'empty', mask: ALL, value: 0n },
  // From 6.2 on: a break-before-make is in progress.
  { name: 'locked', mask: ALL, value: 0x400n },
  // From 5.13 on: who else owns the memory.
  { name: 'owner', mask: ALL - maskOf(OWNER), value: 0n, owner: OWNER },
  // 5.10: a broken entry loses its valid bit alone.
  { name: 'stale', mask: 1n, value: 0n },
];

/** A contiguous piece of an output address: bits high:low of the entry are the address from bit `at` on. */
interface AddressPiece {
  readonly high: number;
  readonly low: number;
  readonly at: number;
}

export type EntryKind = 'table' | 'block' | 'page' | 'invalid';

export interface DecodedEntry {
  readonly kind: EntryKind;
  /** Output address of a leaf, next table of a table, 0 of an invalid entry. */
  readonly oa: number;
  /** Of an invalid entry `is`, and for an owner its number. Bits that no field explains are `other`, in hex. */
  readonly attributes: Decoded;
}

/** Decodes the raw value of an entry at `level`. */
export function decodeEntry(value: bigint, level: Level, geometry: Geometry): DecodedEntry {
  const kind = kindOf(value, level);
  if (kind === 'invalid') return { kind, oa: 0, attributes: invalidAttributes(value) };
  const oaLevel = kind === 'table' ? LAST_LEVEL : level;
  const pieces = addressPieces(geometry, Math.log2(geometry.sizeOf(oaLevel)));
  const fields = fieldsOf(kind, geometry.lpa2);
  const explained = pieces.reduce((mask, piece) => mask | maskOf(piece), TYPE_BITS);
  return {
    kind,
    oa: pieces.reduce((sum, piece) => sum + bitsOf(value, piece) * 2 ** piece.at, 0),
    attributes: decodeFields(value, fields, explained),
  };
}

/** The fields of VTCR_EL2. */
export function decodeVtcrFields(value: bigint): Decoded {
  return decodeFields(value ^ VTCR_RES1, VTCR, 0n);
}

/** The fields of VTTBR_EL2. */
export function decodeVttbrFields(value: bigint): Decoded {
  return decodeFields(value, VTTBR, 0n);
}

const PAGE_SHIFT_64K = 16;
const TYPE_BITS = 3n;
const TABLE_OR_PAGE = 3n;
const BLOCK = 1n;

/** Reserved encodings translate nothing: a block at level 3, or at level 0. */
function kindOf(value: bigint, level: Level): EntryKind {
  const type = value & TYPE_BITS;
  if (type === TABLE_OR_PAGE) return level === LAST_LEVEL ? 'page' : 'table';
  return type === BLOCK && level > 0 && level < LAST_LEVEL ? 'block' : 'invalid';
}

function invalidAttributes(value: bigint): Decoded {
  const kind = INVALID.find((candidate) => (value & candidate.mask) === candidate.value);
  if (kind === undefined) return { is: 'reserved' };
  if (kind.owner === undefined) return { is: kind.name };
  return { is: kind.name, [kind.owner.name]: bitsOf(value, kind.owner) };
}

function fieldsOf(kind: EntryKind, isFolded: boolean): readonly BitField[] {
  if (kind === 'table') return STAGE2_TABLE;
  const leaf = isFolded ? STAGE2_LEAF.filter(({ name }) => name !== 'SH') : STAGE2_LEAF;
  return kind === 'block' ? [...leaf, ...STAGE2_BLOCK] : leaf;
}

/** Where the address stands that is a multiple of 2^`shift`. */
function addressPieces(geometry: Geometry, shift: number): AddressPiece[] {
  if (geometry.lpa2) {
    return [
      { high: 49, low: shift, at: shift },
      { high: 9, low: 8, at: 50 },
    ];
  }
  const low: AddressPiece = { high: 47, low: shift, at: shift };
  return geometry.pageShift === PAGE_SHIFT_64K ? [low, { high: 15, low: 12, at: 48 }] : [low];
}

/** Values of fields; what is set outside of them and of `explained` is `other`. */
function decodeFields(value: bigint, fields: readonly BitField[], explained: bigint): Decoded {
  const decoded: Record<string, string | number> = {};
  let rest = value & ~explained;
  for (const field of fields) {
    rest &= ~maskOf(field);
    const bits = bitsOf(value, field);
    if (field.isRare !== true || bits !== 0) decoded[field.name] = meaningOf(field, bits);
  }
  if (rest !== 0n) decoded['other'] = `0x${rest.toString(16)}`;
  return decoded;
}

function meaningOf({ meanings, isAddress, low }: BitField, bits: number): string | number {
  if (isAddress === true) return `0x${(bits * 2 ** low).toString(16)}`;
  return meanings?.[bits] ?? bits;
}

function bitsOf(value: bigint, { high, low }: { high: number; low: number }): number {
  return Number((value >> BigInt(low)) & (2n ** BigInt(high - low + 1) - 1n));
}

function maskOf({ high, low }: { high: number; low: number }): bigint {
  return (2n ** BigInt(high - low + 1) - 1n) << BigInt(low);
}
