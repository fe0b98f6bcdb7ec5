/**
 * The hardware's walk of a guest's own tables (Arm ARM D8.2): every descriptor is fetched, and updated, at an IPA that stage 2 translates
 * first. Like `hardware-walk.ts` it decodes raw halves by itself.
 *
 * Non-goals: attributes of table descriptors (APTable, PXNTable), a walk cache of stage 1, other granules, contiguous entries.
 */
import { Order, cas64, high, load64, type Op, type Word } from '#port';
import type { Ipa, Level, Va } from './address.ts';
import type { Stage1Leaf } from './combined-tlb.ts';
import { FAULTED, type AccessKind, type Cpu } from './cpu.ts';
import { DESCRIPTOR_BYTES, GEOMETRY_4K, LAST_LEVEL } from './geometry.ts';
import { addressField } from './hardware-walk.ts';
import { stage1StartLevel, type Stage1Regime } from './stage1-registers.ts';

const VALID = 1;
const TYPE = 2;
/** AP[2]: read-only. */
const READ_ONLY = 1 << 7;
const AF = 1 << 10;
/** nG: for one ASID. */
const NOT_GLOBAL = 1 << 11;
/** High half: bit 51, hardware may make it writable; bit 53, not executable at EL1. */
const DBM = 1 << 19;
const PXN = 1 << 21;

/** Whose stage 2 a walk goes through. */
export interface WalkPlace {
  readonly cpu: Pick<Cpu, 'translate'>;
}

/** How a walk ended: a leaf that permits the access, a fault of stage 1, or one of stage 2 on a descriptor. */
export type Stage1Result = 'leaf' | 'translation' | 'accessFlag' | 'permission' | 'stage2';

export class Stage1Walker {
  readonly #place: WalkPlace;
  /** Of the last walk: the level where it ended, and the last descriptor's address and halves. */
  level: Level = 0;
  descriptor: Ipa = 0 as Ipa;
  lo = 0;
  hi = 0;

  constructor(place: WalkPlace) {
    this.#place = place;
  }

  /** Walks for an access to `va`. Of a leaf, `output` and `leaf` tell the rest. */
  *walk(va: Va, kind: AccessKind, regime: Stage1Regime): Op<Stage1Result> {
    for (;;) {
      const found = yield* this.#descend(va, regime);
      if (found !== 'leaf') return found;
      const updated = yield* this.#update(kind, regime);
      if (updated === 'leaf') return this.#permits(kind) ? 'leaf' : 'permission';
      // The descriptor changed before it was updated: walk again.
      if (updated !== 'lost') return updated;
    }
  }

  /** IPA of `va` after a walk that ended at a leaf. */
  output(va: Va): Ipa {
    const offset = va - GEOMETRY_4K.alignDown(va, this.level);
    const base = addressField(this.lo, this.hi, 'none');
    return (GEOMETRY_4K.alignDown(base, this.level) + offset) as Ipa;
  }

  /** What a TLB keeps of the leaf. */
  leaf({ setsDirty }: Stage1Regime): Stage1Leaf {
    return {
      level: this.level,
      isGlobal: (this.lo & NOT_GLOBAL) === 0,
      isWritable: (this.lo & READ_ONLY) === 0,
      isExecutable: (this.hi & PXN) === 0,
      dirties: setsDirty && (this.lo & READ_ONLY) !== 0 && (this.hi & DBM) !== 0,
    };
  }

  *#descend(va: Va, regime: Stage1Regime): Op<'leaf' | 'translation' | 'stage2'> {
    this.level = 0;
    if (va >= 2 ** regime.vaBits) return 'translation';
    this.level = stage1StartLevel(regime);
    let table = regime.root;
    for (;;) {
      const index = GEOMETRY_4K.indexOf(va, this.level);
      this.descriptor = (table + index * DESCRIPTOR_BYTES) as Ipa;
      const at = yield* this.#place.cpu.translate(this.descriptor, 'read');
      if (at === FAULTED) return 'stage2';
      this.lo = yield* load64(at, Order.once);
      this.hi = high();
      if ((this.lo & VALID) === 0) return 'translation';
      const isTable = (this.lo & TYPE) !== 0;
      if (this.level === LAST_LEVEL) return isTable ? 'leaf' : 'translation';
      if (!isTable) return this.level === 0 ? 'translation' : 'leaf';
      table = addressField(this.lo, this.hi, 'none') as number as Ipa;
      this.level = (this.level + 1) as Level;
    }
  }

  /** The access flag and the dirty state, as far as hardware keeps them. */
  *#update(kind: AccessKind, regime: Stage1Regime): Op<'leaf' | 'accessFlag' | 'stage2' | 'lost'> {
    if ((this.lo & AF) === 0 && !regime.setsAccessFlag) return 'accessFlag';
    const isDirtied = kind === 'write' && this.leaf(regime).dirties;
    const wanted = (isDirtied ? this.lo & ~READ_ONLY : this.lo) | AF;
    if (wanted === this.lo) return 'leaf';
    const at = yield* this.#place.cpu.translate(this.descriptor, 'write');
    if (at === FAULTED) return 'stage2';
    return (yield* this.#exchange(at, wanted)) ? 'leaf' : 'lost';
  }

  *#exchange(at: Word, wanted: number): Op<boolean> {
    const isDone = yield* cas64(at, this.lo, this.hi, wanted, this.hi, Order.once);
    if (isDone) this.lo = wanted;
    return isDone;
  }

  #permits(kind: AccessKind): boolean {
    if (kind === 'read') return true;
    return kind === 'write' ? (this.lo & READ_ONLY) === 0 : (this.hi & PXN) === 0;
  }
}
