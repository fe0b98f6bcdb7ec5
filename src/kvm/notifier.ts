/**
 * The MMU notifier's sequence and count (specification section 5I): how a fault learns that the host page it looked up may be
 * gone. Both words are written under `mmu_lock`; the sequence is also read without it.
 *
 * The schedule it prevents:
 *  1. vCPU 0 reads sequence 7 and pins page X.
 *  2. The host unmaps X: count 1, stage 2 has nothing to remove yet; it frees X from its tables; sequence 8, count 0.
 *  3. vCPU 0 takes `mmu_lock` and would map X, which the guest then shares with its next owner.
 * With the check under the lock it sees 8, not 7, and lets the guest fault again.
 */
import { Order, event, load32, retryWhen, store32, type Op, type Word } from '#port';
import { EventKind } from '../engine/events.ts';
import type { MmuLock } from './mmu-lock.ts';

/** One object per agent. */
export class Notifier {
  readonly #sequence: Word;
  readonly #count: Word;
  readonly #lock: MmuLock;
  /** Invalidations that were open when `mustRetryLocked` looked last. */
  #open = 0;

  constructor(options: {
    readonly sequence: Word;
    readonly count: Word;
    readonly mmuLock: MmuLock;
  }) {
    this.#sequence = options.sequence;
    this.#count = options.count;
    this.#lock = options.mmuLock;
  }

  /** To be read before the host page is looked up; the acquire stands for the read barrier behind it. */
  *readSequence(): Op<number> {
    return yield* load32(this.#sequence, Order.acquire);
  }

  /**
   * Whether a mapping of what was looked up after `sequence` must not be installed. `mmu_lock` is held, on
   * either side: start and end write. Count first, then sequence.
   */
  *mustRetryLocked(sequence: number): Op<boolean> {
    this.#lock.assertHeldFor('read');
    this.#open = yield* load32(this.#count, Order.acquire);
    if (this.#open !== 0) return true;
    return (yield* load32(this.#sequence, Order.once)) !== sequence;
  }

  /** What was looked up before is stale: the host replaces one page by another. */
  *changeLocked(): Op<void> {
    this.#lock.assertHeld();
    const sequence = yield* load32(this.#sequence, Order.once);
    yield* store32(this.#sequence, (sequence + 1) | 0, Order.release);
  }

  /** Opens an invalidation: faults retry until `endLocked`. */
  *startLocked(): Op<void> {
    this.#lock.assertHeld();
    const count = yield* load32(this.#count, Order.once);
    yield* store32(this.#count, count + 1, Order.once);
    event(EventKind.notifierStart, this.#count, count + 1, 0);
  }

  /** Closes it: sequence before count, in this order, so that a reader of the count cannot miss the sequence. */
  *endLocked(): Op<void> {
    yield* this.changeLocked();
    const count = yield* load32(this.#count, Order.once);
    if (count < 1) throw new Error('notifier end without start');
    yield* store32(this.#count, count - 1, Order.release);
    event(EventKind.notifierEnd, this.#count, count - 1, 0);
  }

  /** Whether an invalidation is open. */
  *isOpen(): Op<boolean> {
    return (yield* load32(this.#count, Order.once)) !== 0;
  }

  /**
   * After a fault that ended in a retry: while the invalidations that it met are open, the guest would only fault again. Without a look
   * before, which would tell only whether the look or the end came first.
   */
  *awaitEnd(): Op<void> {
    if (this.#open !== 0) yield* retryWhen(this.#count, this.#open);
  }
}
