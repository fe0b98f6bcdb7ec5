/**
 * `mmu_lock`, the lock of a VM's stage-2 table, as its users take it: a spin lock, or since 5.18 a reader-writer lock (specification section 6).
 * Which operation takes which side is the profile's: see `Stage2Operations`. One object per agent.
 */
import type { Op } from '#port';
import type { RwLock } from '../locking/rw-lock.ts';
import type { SpinLock } from '../locking/spin-lock.ts';

/** `write`: alone in the table. `read`: beside others that read. */
export type MmuLockSide = 'read' | 'write';

/** What it is made of. */
export type MmuLockKind = 'spin' | 'rw';

export interface MmuLock {
  /** Takes the lock alone; may not be held. */
  lock(): Op<void>;
  /** Takes a side of it. */
  lockFor(side: MmuLockSide): Op<void>;
  /** Gives back whichever side is held. */
  unlock(): Op<void>;
  /** Throws unless this agent is alone in the table. */
  assertHeld(): void;
  /** The same for a side: who holds the lock for writing may do whatever a reader may. */
  assertHeldFor(side: MmuLockSide): void;
  /** Whether an agent waits that this hold keeps out. */
  isContended(): Op<boolean>;
}

/** Up to 5.17. */
export class SpinMmuLock implements MmuLock {
  readonly #spin: SpinLock;

  constructor(spin: SpinLock) {
    this.#spin = spin;
  }

  *lock(): Op<void> {
    yield* this.#spin.lock();
  }

  *lockFor(side: MmuLockSide): Op<void> {
    if (side === 'read') throw new Error('mmu_lock is a spin lock: it has no read side');
    yield* this.#spin.lock();
  }

  *unlock(): Op<void> {
    yield* this.#spin.unlock();
  }

  assertHeld(): void {
    this.#spin.assertHeld();
  }

  assertHeldFor(): void {
    this.#spin.assertHeld();
  }

  *isContended(): Op<boolean> {
    return yield* this.#spin.isContended();
  }
}

/** From 5.18 on. */
export class RwMmuLock implements MmuLock {
  readonly #rw: RwLock;
  #side: MmuLockSide | null = null;

  constructor(rw: RwLock) {
    this.#rw = rw;
  }

  *lock(): Op<void> {
    yield* this.#rw.writeLock();
    this.#side = 'write';
  }

  *lockFor(side: MmuLockSide): Op<void> {
    if (side === 'write') yield* this.#rw.writeLock();
    else yield* this.#rw.readLock();
    this.#side = side;
  }

  *unlock(): Op<void> {
    const side = this.#side;
    this.#side = null;
    if (side === 'read') yield* this.#rw.readUnlock();
    else yield* this.#rw.writeUnlock();
  }

  assertHeld(): void {
    this.#rw.assertHeld('write');
  }

  assertHeldFor(side: MmuLockSide): void {
    this.#rw.assertHeld(side === 'read' && this.#side === 'read' ? 'read' : 'write');
  }

  *isContended(): Op<boolean> {
    return yield* this.#rw.isContended();
  }
}
