/**
 * The hardware's stage-2 table walk (Arm ARM D8.2): an observer of its own. It decodes descriptors by itself, from the raw
 * halves, and knows nothing of the software's `Descriptor`.
 *
 * Non-goals here: hardware update of the access flag, stage 1, OAs above 48 bits.
 */
import { Order, high, load64, read32, type Op } from '#port';
import { HIGH_WEIGHT, type Ipa, type Level, type Phys, type Vmid } from './address.ts';
import type { PhysicalMemory } from './frames.ts';
import { DESCRIPTOR_BYTES, LAST_LEVEL, type Geometry } from './geometry.ts';
import { DESCRIPTOR_HI, DESCRIPTOR_LO, MISS, type TranslationArray } from './translation-array.ts';

/** What a walk starts from: the stage-2 registers, decoded once when they are loaded. */
export interface Stage2Regime {
  readonly root: Phys;
  readonly vmid: Vmid;
  /** 2^IPA bits. */
  readonly ipaLimit: number;
  readonly startLevel: Level;
}

/** How a walk ended: a usable leaf, or the fault it raises. */
export type WalkResult = 'leaf' | 'translation' | 'accessFlag';

export class HardwareWalker {
  readonly #memory: PhysicalMemory;
  readonly #geometry: Geometry;
  readonly #walkCache: TranslationArray;
  /** Of the last walk: the level where it ended and the descriptor it ended at. */
  level: Level = 0;
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
    this.level = regime.startLevel;
    let table = this.#start(address, regime);
    for (;;) {
      yield* this.#fetch(table, address, regime.startLevel);
      if ((this.lo & 1) === 0) return 'translation';
      if (this.level === LAST_LEVEL) return (this.lo & 2) === 0 ? 'translation' : this.#leaf();
      if ((this.lo & 2) === 0) return this.level === 0 ? 'translation' : this.#leaf();
      table = nextTable(this.lo, this.hi);
      this.level = (this.level + 1) as Level;
      this.#walkCache.fill(address, (this.level - 1) as Level, regime.vmid, this.lo, this.hi);
    }
  }

  /** The deepest table the walk cache knows on the way to `address`; sets the level of that table. */
  #start(address: Ipa, regime: Stage2Regime): Phys {
    for (let level = LAST_LEVEL - 1; level >= regime.startLevel; level--) {
      const entry = this.#walkCache.find(address, level as Level, regime.vmid);
      if (entry === MISS) continue;
      this.level = (level + 1) as Level;
      return nextTable(read32(entry + DESCRIPTOR_LO), read32(entry + DESCRIPTOR_HI));
    }
    return regime.root;
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

/** Bits 47:12 of a table descriptor. */
function nextTable(lo: number, hi: number): Phys {
  return ((hi & 0xffff) * HIGH_WEIGHT + ((lo & ~0xfff) >>> 0)) as Phys;
}
