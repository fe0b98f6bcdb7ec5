import type { Op, Word } from '#port';
import type { Level } from '../../machine/address.ts';
import { Descriptor, EMPTY, loadDescriptor } from '../../machine/descriptor.ts';
import type { TableCache } from '../mm-ops.ts';
import { childOf, NO_PGD, type Pgtable } from '../pgtable.ts';
import { clearEntry, setEntry } from './entry.ts';
import { entryIn, rootEntry } from './offsets.ts';

/** No entry: a table is missing and there is no page for it. */
export const NO_ENTRY: Word = 0;

/** What a descent may change on its way. */
export interface Growth {
  /** Where missing tables come from; null: none may be allocated. */
  readonly cache: TableCache | null;
  /** Whether a block in the way is dissolved: dirty logging goes by pages. Otherwise it is a bug. */
  readonly logging: boolean;
}

/** From the root to the entry of one address at a wanted level, one load for each level above it. One walk, one use. */
export class Descent {
  readonly #pgt: Pgtable;
  readonly #addr: number;
  readonly #growth: Growth;

  constructor(pgt: Pgtable, addr: number, growth: Growth) {
    this.#pgt = pgt;
    this.#addr = addr;
    this.#growth = growth;
  }

  *pud(): Op<Word> {
    const pgd = rootEntry(this.#pgt, this.#addr);
    if (this.#pgt.startLevel > 0) return pgd;
    return yield* this.#below(pgd, 0);
  }

  *pmd(): Op<Word> {
    const pud = yield* this.pud();
    if (this.#pgt.startLevel > 1 || pud === NO_ENTRY) return pud;
    return yield* this.#below(pud, 1);
  }

  *pte(): Op<Word> {
    const pmd = yield* this.pmd();
    if (pmd === NO_ENTRY) return NO_ENTRY;
    return yield* this.#below(pmd, 2);
  }

  /** Through the entry at `at`, which gets a table if it has none. */
  *#below(at: Word, level: Level): Op<Word> {
    let entry = yield* loadDescriptor(at);
    if (entry.isValid() && !entry.isTable(level)) {
      yield* this.#dissolve(at, level);
      entry = EMPTY;
    }
    if (!entry.isValid()) entry = yield* this.#populate(at);
    if (!entry.isValid()) return NO_ENTRY;
    return entryIn(this.#pgt, childOf(this.#pgt, entry), this.#addr, (level + 1) as Level);
  }

  /** Nothing of the block stays: all of it faults back. */
  *#dissolve(at: Word, level: Level): Op<void> {
    if (!this.#growth.logging) throw new Error(`a block of level ${level} in the way of a page`);
    yield* clearEntry(this.#pgt, at, this.#addr, level);
    yield* this.#pgt.ops.putPage(at);
  }

  /** The entry of a new table, or the empty one. */
  *#populate(at: Word): Op<Descriptor> {
    const { cache } = this.#growth;
    const page = cache === null ? NO_PGD : yield* cache.alloc();
    if (page === NO_PGD) return EMPTY;
    const entry = Descriptor.table(this.#pgt.geometry, page);
    yield* setEntry(this.#pgt, at, entry);
    yield* this.#pgt.ops.getPage(at);
    return entry;
  }
}
