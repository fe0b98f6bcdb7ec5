/**
 * Read sections of shared walks, and the tables that wait for their end (specification section 6, "Detached subtrees"). The schedule that this
 * prevents:
 *  1. vCPU 0 walks into a table. vCPU 1 replaces the table by a block and frees its pages.
 *  2. vCPU 2 takes one of the pages for another table. vCPU 0 swaps a leaf into it: a leaf for the wrong address.
 *
 * Deviation: the kernel puts the free off (call_rcu) and returns to the guest; here who detached a table waits for the grace period itself, once its
 * fault is served and nothing is held. So nothing is pending when a run ends.
 */
import type { Op, Word } from '#port';
import type { Rcu } from '../../locking/rcu.ts';
import type { Level } from '../../machine/address.ts';
import type { MmuLock } from '../mmu-lock.ts';

export interface WalkSections {
  /** Opens a section; false: there are none, and no walk may be shared. */
  readLock(): Op<boolean>;
  readUnlock(): Op<void>;
  /** Takes over a table that an entry of `level` pointed to: it stays until no section can reach it. */
  defer(table: Word, level: Level): void;
  /** The tables that this agent gave away, each once, when no section can be in them any more. May sleep. */
  takeExpired(): Op<readonly DetachedTable[]>;
}

export interface DetachedTable {
  readonly table: Word;
  readonly level: Level;
}

const NOTHING: readonly DetachedTable[] = [];

/** Where every change of structure is alone in the table: it frees what it detached. */
export const NO_SECTIONS: WalkSections = {
  *readLock() {
    return false;
  },
  *readUnlock() {},
  defer() {
    throw new Error('a table is detached that nobody else could be in');
  },
  *takeExpired() {
    return NOTHING;
  },
};

export interface SectionParts {
  readonly rcu: Pick<Rcu, 'readLock' | 'readUnlock' | 'synchronize'>;
  readonly mmuLock: MmuLock;
}

/** One object per agent. */
export class RcuSections implements WalkSections {
  readonly #rcu: SectionParts['rcu'];
  readonly #mmuLock: MmuLock;
  #detached: DetachedTable[] = [];

  constructor({ rcu, mmuLock }: SectionParts) {
    this.#rcu = rcu;
    this.#mmuLock = mmuLock;
  }

  /** Inside `mmu_lock`: what is reached after it is given back may be gone (invariant 42). */
  *readLock(): Op<boolean> {
    this.#mmuLock.assertHeldFor('read');
    yield* this.#rcu.readLock();
    return true;
  }

  *readUnlock(): Op<void> {
    this.#mmuLock.assertHeldFor('read');
    yield* this.#rcu.readUnlock();
  }

  defer(table: Word, level: Level): void {
    this.#detached.push({ table, level });
  }

  *takeExpired(): Op<readonly DetachedTable[]> {
    const detached = this.#detached;
    if (detached.length === 0) return NOTHING;
    this.#detached = [];
    yield* this.#rcu.synchronize();
    return detached;
  }
}
