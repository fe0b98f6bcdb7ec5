/**
 * The hardware's stage-2 table walk (Arm ARM D8.2): an observer of its own. It decodes descriptors by itself, from the raw
 * halves, and knows nothing of the software's `Descriptor` and `OutputAddressFormat`.
 *
 * Non-goals here: hardware update of the access flag, stage 1.
 */
import { Order, high, load64, read32, type Op } from '#port';
import { HIGH_WEIGHT, type Ipa, type Level, type Phys, type Vmid } from './address.ts';
import type { PhysicalMemory } from './frames.ts';
import { DESCRIPTOR_BYTES, LAST_LEVEL, type Geometry } from './geometry.ts';
import { DESCRIPTOR_HI, DESCRIPTOR_LO, MISS, type TranslationArray } from './translation-array.ts';
import { decodeVtcr, decodeVttbr, type Stage2Registers } from './vtcr.ts';

/** What a walk starts from: the stage-2 registers, decoded once when they are loaded. */
export interface Stage2Regime {
  readonly root: Phys;
  readonly vmid: Vmid;
  /** 2^IPA bits. */
  readonly ipaLimit: number;
  readonly startLevel: Level;
  /** Where descriptors keep the address bits above 47. */
  readonly highBits: HighAddressBits;
  /** Blocks above this level are reserved encodings. */
  readonly blockLevelMin: Level;
}

/** `none`; bits 15:12 hold OA[51:48] (`fold64K`); bits 49:48 stand in place and bits 9:8 hold OA[51:50] (`lpa2`). */
export type HighAddressBits = 'none' | 'fold64K' | 'lpa2';

/** The regime that the registers configure. */
export function stage2Regime({ vtcr, vttbr }: Stage2Registers): Stage2Regime {
  const { pageShift, ipaBits, startLevel, lpa2 } = decodeVtcr(vtcr);
  const { root, vmid } = decodeVttbr(vttbr.lo, vttbr.hi);
  const wide = lpa2 ? 'lpa2' : 'none';
  const blockLevelMin = (pageShift === 12 ? 1 : 2) - (lpa2 ? 1 : 0);
  return {
    root,
    vmid,
    ipaLimit: 2 ** ipaBits,
    startLevel,
    highBits: pageShift === 16 ? 'fold64K' : wide,
    blockLevelMin: blockLevelMin as Level,
  };
}

/** The address field of a descriptor's raw halves; bits below the granule are zero. */
export function addressField(lo: number, hi: number, highBits: HighAddressBits): Phys {
  const below48 = (hi & 0xffff) * HIGH_WEIGHT + ((lo & ~0xfff) >>> 0);
  if (highBits === 'none') return below48 as Phys;
  if (highBits === 'fold64K') {
    const folded = lo & 0xf000;
    return (below48 - folded + folded * 2 ** 36) as Phys;
  }
  return (below48 + (hi & 0x3_0000) * HIGH_WEIGHT + (lo & 0x300) * 2 ** 42) as Phys;
}

/** How a walk ended: a usable leaf, or the fault it raises. */
export type WalkResult = 'leaf' | 'translation' | 'accessFlag';

export class HardwareWalker {
  readonly #memory: PhysicalMemory;
  readonly #geometry: Geometry;
  readonly #walkCache: TranslationArray;
  /** Of the last walk: the level where it ended and the descriptor it ended at. */
  level: Level = 0;
  /** Where the next step of a walk loads. */
  table: Phys = 0 as Phys;
  lo = 0;
  hi = 0;

  constructor(memory: PhysicalMemory, geometry: Geometry, walkCache: TranslationArray) {
    this.#memory = memory;
    this.#geometry = geometry;
    this.#walkCache = walkCache;
  }

  /** Walks for `address`; the result's level and descriptor are in `level`, `lo`, `hi`. Caches the tables it passes. */
  *walk(address: Ipa, regime: Stage2Regime): Op<WalkResult> {
    this.level = 0;
    if (address >= regime.ipaLimit) return 'translation';
    this.begin(address, regime);
    for (;;) {
      const result = yield* this.step(address, regime);
      if (result !== 'table') return result;
      this.cacheTable(address, regime);
    }
  }

  /** Goes to the deepest table that the walk cache knows on the way to `address`, which is inside the IPA space. */
  begin(address: Ipa, regime: Stage2Regime): void {
    this.level = regime.startLevel;
    this.table = regime.root;
    for (let level = LAST_LEVEL - 1; level >= regime.startLevel; level--) {
      const entry = this.#walkCache.find(address, level as Level, regime.vmid);
      if (entry === MISS) continue;
      this.level = (level + 1) as Level;
      const lo = read32(entry + DESCRIPTOR_LO);
      this.table = addressField(lo, read32(entry + DESCRIPTOR_HI), regime.highBits);
      return;
    }
  }

  /** Loads the descriptor for `address` in `table`, at `level`. After `table` both are those of the table it names. */
  *step(address: Ipa, regime: Stage2Regime): Op<WalkResult | 'table'> {
    yield* this.#fetch(this.table, address, regime.startLevel);
    if ((this.lo & 1) === 0) return 'translation';
    if (this.level === LAST_LEVEL) return (this.lo & 2) === 0 ? 'translation' : this.#leaf();
    if ((this.lo & 2) === 0)
      return this.level < regime.blockLevelMin ? 'translation' : this.#leaf();
    this.table = addressField(this.lo, this.hi, regime.highBits);
    this.level = (this.level + 1) as Level;
    return 'table';
  }

  /** Caches the table descriptor of the last step. */
  cacheTable(address: Ipa, regime: Stage2Regime): void {
    this.#walkCache.fill(address, (this.level - 1) as Level, regime.vmid, this.lo, this.hi);
  }

  *#fetch(table: Phys, address: Ipa, startLevel: Level): Op<void> {
    // The root may be several concatenated pages: its index is not masked to one page.
    const index =
      this.level === startLevel
        ? this.#geometry.blockNumber(address, this.level)
        : this.#geometry.indexOf(address, this.level);
    this.lo = yield* load64(
      this.#memory.wordOf((table + index * DESCRIPTOR_BYTES) as Phys),
      Order.once,
    );
    this.hi = high();
  }

  /** Without hardware access-flag update a clear AF faults. */
  #leaf(): WalkResult {
    return (this.lo & (1 << 10)) === 0 ? 'accessFlag' : 'leaf';
  }
}
