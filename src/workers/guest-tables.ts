/**
 * A guest's own page tables, as its boot code makes them: stage 1 is off, every store goes through stage 2. 4K granule; tables are taken from
 * the guest's table memory one after the other, the root first.
 */
import { Order, high, load64, store64, type Op, type Word } from '#port';
import {
  HIGH_WEIGHT,
  highHalf,
  lowHalf,
  type Ipa,
  type Level,
  type Va,
} from '../machine/address.ts';
import { FAULTED } from '../machine/cpu.ts';
import { DESCRIPTOR_BYTES, GEOMETRY_4K, LAST_LEVEL } from '../machine/geometry.ts';
import { load, store } from '../machine/instruction.ts';
import { stage1StartLevel, type Stage1Regime } from '../machine/stage1-registers.ts';
import { DATA_REGISTER, type GuestCore } from './guest-core.ts';

/** How a guest maps a page, beside valid, Normal memory, of one ASID. */
export interface GuestPage {
  readonly isYoung: boolean;
  /** `dirties`: read-only until hardware sees the first write. */
  readonly write: 'yes' | 'dirties';
}

const TABLE = 3;
const PAGE = 3;
const READ_ONLY = 1 << 7;
const SH_IS = 3 << 8;
const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;
/** Bit 51. */
const DBM_HI = 1 << 19;

const LOAD = load(DESCRIPTOR_BYTES, DATA_REGISTER);
const STORE = store(DESCRIPTOR_BYTES, DATA_REGISTER);

/** Bytes of tables that map so many bytes of VA, in one piece wherever it begins. */
export function guestTableBytes(regime: Pick<Stage1Regime, 'vaBits'>, bytes: number): number {
  let tables = 1;
  for (let level: Level = stage1StartLevel(regime); level < LAST_LEVEL; level++)
    tables += Math.ceil(bytes / GEOMETRY_4K.sizeOf(level)) + 1;
  return tables * GEOMETRY_4K.pageBytes;
}

export class GuestTables {
  readonly #core: GuestCore;
  readonly #startLevel: Level;
  readonly #end: number;
  readonly root: Ipa;
  #next: number;

  /** `memory`: zeroed guest memory for tables. */
  constructor(
    core: GuestCore,
    memory: { readonly base: Ipa; readonly bytes: number },
    regime: Pick<Stage1Regime, 'vaBits'>,
  ) {
    this.#core = core;
    this.#startLevel = stage1StartLevel(regime);
    this.root = memory.base;
    this.#next = memory.base + GEOMETRY_4K.pageBytes;
    this.#end = memory.base + memory.bytes;
  }

  /** Maps one page of 4 KiB. In guest mode. */
  *map(va: Va, ipa: Ipa, { isYoung, write }: GuestPage): Op<void> {
    const at = yield* this.entryOf(va);
    const lo = lowHalf(ipa) | PAGE | SH_IS | NOT_GLOBAL;
    const dirties = write === 'dirties';
    const flags = (isYoung ? AF : 0) | (dirties ? READ_ONLY : 0);
    yield* this.#store(at, lo | flags, highHalf(ipa) | (dirties ? DBM_HI : 0));
  }

  /** Where the page descriptor of `va` is; makes the tables on the way. */
  *entryOf(va: Va): Op<Ipa> {
    let table: number = this.root;
    for (let level = this.#startLevel; ; level = (level + 1) as Level) {
      const at = (table + GEOMETRY_4K.indexOf(va, level) * DESCRIPTOR_BYTES) as Ipa;
      if (level === LAST_LEVEL) return at;
      const word = yield* this.#reach(at, LOAD);
      const lo = yield* load64(word, Order.once);
      const hi = high();
      if (lo === 0 && hi === 0) table = yield* this.#addTable(at);
      else table = hi * HIGH_WEIGHT + ((lo & ~TABLE) >>> 0);
    }
  }

  *#addTable(at: Ipa): Op<number> {
    const table = this.#next;
    if (table >= this.#end) throw new Error('the guest is out of memory for its tables');
    this.#next += GEOMETRY_4K.pageBytes;
    yield* this.#store(at, lowHalf(table) | TABLE, highHalf(table));
    return table;
  }

  *#store(at: Ipa, lo: number, hi: number): Op<void> {
    const word = yield* this.#reach(at, STORE);
    yield* store64(word, lo, hi, Order.once);
  }

  *#reach(at: Ipa, instruction: typeof LOAD): Op<Word> {
    const word = yield* this.#core.reach(at as number as Va, instruction);
    if (word === FAULTED) throw new Error(`a guest's table at ${at}: ${this.#core.ended}`);
    return word;
  }
}
