/**
 * Between invalidations of the host and changes of slots (specification section 5I, "a second counter"): since an invalidation takes `mmu_lock`
 * only where it meets a slot, slots must not change while one is open. The schedule that this prevents:
 *  1. An invalidation starts; no slot is met, nothing is counted.
 *  2. User space publishes a slot over the range.
 *  3. The invalidation ends, meets the slot, and takes away a count that it never added.
 */
import { Order, load32, signalAdd32, wait, type Op, type Word } from '#port';
import type { SpinLock } from '../../locking/spin-lock.ts';

export interface InvalidationGate {
  /** An invalidation starts. May sleep. */
  enter(): Op<void>;
  /** It ends. */
  leave(): Op<void>;
  /** Slots are about to change: waits until no invalidation is open, and lets none start until `open`. May sleep. */
  close(): Op<void>;
  open(): Op<void>;
}

/** Where every invalidation takes `mmu_lock`, slots met or not. */
export const NO_GATE: InvalidationGate = {
  *enter() {},
  *leave() {},
  *close() {},
  *open() {},
};

/** What a gate that counts is made of. */
export interface GateParts {
  /** Waitable: open invalidations (the kernel's mn_active_invalidate_count). */
  readonly count: Word;
  /** mn_invalidate_lock: innermost. */
  readonly lock: SpinLock;
}

export class CountingGate implements InvalidationGate {
  readonly #count: Word;
  readonly #lock: SpinLock;

  constructor({ count, lock }: GateParts) {
    this.#count = count;
    this.#lock = lock;
  }

  *enter(): Op<void> {
    yield* this.#lock.lock();
    yield* signalAdd32(this.#count, 1, Order.once);
    yield* this.#lock.unlock();
  }

  /** Pairs with the wait in `close`. */
  *leave(): Op<void> {
    yield* this.#lock.lock();
    const before = yield* signalAdd32(this.#count, -1, Order.release);
    if (before < 1) throw new Error('an invalidation ends that did not start');
    yield* this.#lock.unlock();
  }

  *close(): Op<void> {
    yield* this.#lock.lock();
    let open = yield* load32(this.#count, Order.acquire);
    while (open !== 0) {
      yield* this.#lock.unlock();
      yield* wait(this.#count, open);
      yield* this.#lock.lock();
      open = yield* load32(this.#count, Order.acquire);
    }
  }

  *open(): Op<void> {
    yield* this.#lock.unlock();
  }
}
