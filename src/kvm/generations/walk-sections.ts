/**
 * Read sections of shared walks, and the tables that wait for their end (specification section 6, "Detached subtrees"). The schedule that this
 * prevents:
 *  1. vCPU 0 walks into a table. vCPU 1 replaces the table by a block and frees its pages.
 *  2. vCPU 2 takes one of the pages for another table. vCPU 0 swaps a leaf into it: a leaf for the wrong address.
 *
 * Who detached a table puts its free off and returns to the guest; a daemon frees it (src/workers/agents.ts).
 */
import type { Op, Word } from '#port';
import type { Rcu } from '../../locking/rcu.ts';
import type { MmuLock } from '../mmu-lock.ts';

export interface WalkSections {
  /** Opens a section; false: there are none, and no walk may be shared. */
  readLock(): Op<boolean>;
  readUnlock(): Op<void>;
  /** Takes over the record of a table that no entry points to any more: it stays until no section can reach it. Never waits. */
  defer(record: Word): Op<void>;
}

/** Where every change of structure is alone in the table: it frees what it detached. */
export const NO_SECTIONS: WalkSections = {
  *readLock() {
    return false;
  },
  *readUnlock() {},
  // oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
  *defer() {
    throw new Error('a table is detached that nobody else could be in');
  },
};

export interface SectionParts {
  readonly rcu: Pick<Rcu, 'readLock' | 'readUnlock' | 'call'>;
  readonly mmuLock: MmuLock;
}

/** One object per agent. */
export class RcuSections implements WalkSections {
  readonly #rcu: SectionParts['rcu'];
  readonly #mmuLock: MmuLock;

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

  *defer(record: Word): Op<void> {
    yield* this.#rcu.call(record);
  }
}
