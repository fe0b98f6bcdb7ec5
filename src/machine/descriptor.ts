/**
 * Translation table descriptors, bit-exact (Arm ARM D8.3; specification section 1.2). A `Descriptor` is an immutable pair of
 * 32-bit halves; nothing outside this file does bit arithmetic on one. Where the output address stands is the geometry's.
 */
import { Order, cas64, high, load64, read32, store64, type Op, type Word } from '#port';
import type { Level, Phys } from './address.ts';
import { LAST_LEVEL, type Geometry } from './geometry.ts';

/** Bit 0: the entry takes part in translation. */
const VALID = 1 << 0;
/** Bit 1: table at levels 0 to 2, page at level 3; clear for a block. */
const TYPE = 1 << 1;

/** Stage-2 attribute fields in the low half. */
export const S2_LO = {
  /** MemAttr[3:0], bits 5:2. */
  MEMATTR_SHIFT: 2,
  /** S2AP[0]: readable. */
  S2AP_R: 0x40,
  /** S2AP[1]: writable. */
  S2AP_W: 0x80,
  /** SH, bits 9:8: inner shareable. With LPA2 the bits are the address's. */
  SH_IS: 0x300,
  /** Access flag. */
  AF: 0x400,
} as const;

/** Stage-2 attribute fields in the high half. */
export const S2_HI = {
  /**
   * XN[1:0], bits 54:53. Without FEAT_XNX bit 54 alone says not executable; with it the two encode: 0 executable, 1 at EL0 only, 2 not,
   * 3 at EL1 only.
   */
  XN_SHIFT: 21,
  XN_MASK: 0x60_0000,
  /** XN[1] alone: not executable. */
  XN: 0x40_0000,
  /** Bits 58:55: software's own. */
  SW_SHIFT: 23,
  SW_MASK: 0x780_0000,
} as const;

/** MemAttr[3:0], bits 5:2 of the low half, as a number. */
const MEMATTR_MASK = 0xf;

/** Bits 11:2: what an attribute edit may touch in the low half. */
const ATTRIBUTES_LO = 0xffc;
/** Bits 63:51: what it may touch in the high half. */
const ATTRIBUTES_HI = ~0x7ffff;

/** Attributes to set or clear, both halves, limited to bits 11:2 and 63:51. */
export class Attributes {
  readonly lo: number;
  readonly hi: number;

  constructor(lo: number, hi: number) {
    this.lo = lo & ATTRIBUTES_LO;
    this.hi = hi & ATTRIBUTES_HI;
  }
}

export const NO_ATTRIBUTES: Attributes = new Attributes(0, 0);
/** What a permission fault may find too strict: R, W and XN. */
export const PERMISSIONS: Attributes = new Attributes(S2_LO.S2AP_R | S2_LO.S2AP_W, S2_HI.XN_MASK);

export class Descriptor {
  /** Bits 31:0. */
  readonly lo: number;
  /** Bits 63:32. */
  readonly hi: number;

  constructor(lo: number, hi: number) {
    this.lo = lo;
    this.hi = hi;
  }

  /** A block (levels 1, 2) or page (level 3) at `oa`, which is aligned to the level's size. */
  static leaf(geometry: Geometry, oa: Phys, level: Level, attributes: Attributes): Descriptor {
    const { outputAddress } = geometry;
    const type = level === LAST_LEVEL ? TYPE : 0;
    return new Descriptor(
      outputAddress.lo(oa) | attributes.lo | type | VALID,
      outputAddress.hi(oa) | attributes.hi,
    );
  }

  /** A pointer to the next table: valid, type and address, nothing else. */
  static table(geometry: Geometry, next: Phys): Descriptor {
    const { outputAddress } = geometry;
    return new Descriptor(outputAddress.lo(next) | TYPE | VALID, outputAddress.hi(next));
  }

  isValid(): boolean {
    return (this.lo & VALID) !== 0;
  }

  /** Whether an entry of `level` points to a table. */
  isTable(level: Level): boolean {
    return level < LAST_LEVEL && (this.lo & (VALID | TYPE)) === (VALID | TYPE);
  }

  /** Output address of a leaf, next-level address of a table (also of an entry whose valid bit alone was cleared). */
  address(geometry: Geometry): Phys {
    return geometry.outputAddress.address(this.lo, this.hi);
  }

  isWritable(): boolean {
    return (this.lo & S2_LO.S2AP_W) !== 0;
  }

  /** Executable at EL0, at EL1 or at both. */
  isExecutable(): boolean {
    return (this.hi & S2_HI.XN_MASK) !== S2_HI.XN;
  }

  isYoung(): boolean {
    return (this.lo & S2_LO.AF) !== 0;
  }

  /** MemAttr[3:0] of a stage-2 leaf. */
  memAttr(): number {
    return (this.lo >>> S2_LO.MEMATTR_SHIFT) & MEMATTR_MASK;
  }

  equals(other: Descriptor): boolean {
    return this.lo === other.lo && this.hi === other.hi;
  }

  /** Whether the two differ in bits of `ignored` at most. */
  equalsBut(other: Descriptor, ignored: Attributes): boolean {
    return ((this.lo ^ other.lo) & ~ignored.lo) === 0 && ((this.hi ^ other.hi) & ~ignored.hi) === 0;
  }

  /** What a leaf says beside its address. */
  attributes(geometry: Geometry): Attributes {
    const { outputAddress } = geometry;
    const address = this.address(geometry);
    return new Attributes(
      this.lo & ~outputAddress.lo(address),
      this.hi & ~outputAddress.hi(address),
    );
  }

  /** The same with the valid bit cleared: address and attributes stay readable. */
  invalidated(): Descriptor {
    return new Descriptor(this.lo & ~VALID, this.hi);
  }

  /** `(this & ~clear) | set` on attribute bits: never alters valid, type or address. */
  withAttributes(set: Attributes, clear: Attributes): Descriptor {
    return new Descriptor((this.lo & ~clear.lo) | set.lo, (this.hi & ~clear.hi) | set.hi);
  }

  /** The canonical form of a table digest: invalid as empty, the address of a table masked. */
  canonical(level: Level): Descriptor {
    if (!this.isValid()) return EMPTY;
    return this.isTable(level) ? new Descriptor(TYPE | VALID, 0) : this;
  }

  /** For dumps and tests. */
  toBigInt(): bigint {
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
  }
}

/** The empty entry. */
export const EMPTY: Descriptor = new Descriptor(0, 0);

/** One single-copy atomic load of an entry (READ_ONCE). */
export function* loadDescriptor(entry: Word): Op<Descriptor> {
  const lo = yield* load64(entry, Order.once);
  return new Descriptor(lo, high());
}

/** An entry by a plain read: nobody else may write it. */
export function readDescriptor(entry: Word): Descriptor {
  const lo = read32(entry);
  const hi = read32(entry + 4);
  return lo === 0 && hi === 0 ? EMPTY : new Descriptor(lo, hi);
}

/** One single-copy atomic store of an entry. `Order.release` publishes what it points to. */
export function* storeDescriptor(entry: Word, value: Descriptor, order: Order): Op<void> {
  yield* store64(entry, value.lo, value.hi, order);
}

/** One atomic compare-and-swap of an entry, fully ordered; false if it no longer is `expected`. */
export function* tryStoreDescriptor(
  entry: Word,
  expected: Descriptor,
  value: Descriptor,
): Op<boolean> {
  return yield* cas64(entry, expected.lo, expected.hi, value.lo, value.hi, Order.full);
}
