/**
 * A sequence count: readers take no lock, see whether a write came between, and read again. Odd: a write is open. Writers exclude each
 * other by a lock of the owner's; what is read between `readBegin` and `readRetry` is loaded by atomic operations (`Order.once`).
 *
 * A reader is not protected from endless writers: each of its attempts ends, but each may have to be repeated.
 */
import { Order, count, load32, signalAdd32, wait, type Op, type Word } from '#port';
import { LINE_BYTES } from './turn-slots.ts';

/** Offsets of float counters in the agent's statistics block. */
export interface SeqCountStatistics {
  /** Attempts to read. */
  readonly reads: number;
  /** Attempts that a write spoiled. */
  readonly retries: number;
}

const OPEN = 1;

export class SeqCount {
  /** Waitable. */
  readonly #sequence: Word;
  readonly #statistics: SeqCountStatistics;

  static bytes(): number {
    return LINE_BYTES;
  }

  /** `at`: zeroed memory of `SeqCount.bytes()` bytes, aligned to a line. */
  constructor(at: Word, statistics: SeqCountStatistics) {
    this.#sequence = at;
    this.#statistics = statistics;
  }

  /**
   * With the owner's lock held. Full (a store and `dmb ishst` on Arm): the writes that follow stay behind it, or a reader could meet
   * one of them under the even count before.
   */
  *writeBegin(): Op<void> {
    const before = yield* signalAdd32(this.#sequence, 1, Order.full);
    if ((before & OPEN) !== 0) throw new Error('sequence count written by two agents at once');
  }

  /** Release: a reader that begins with this even count sees every write. Pairs with the wait in `readBegin`. */
  *writeEnd(): Op<void> {
    const before = yield* signalAdd32(this.#sequence, 1, Order.release);
    if ((before & OPEN) === 0) throw new Error('sequence count has no open write');
  }

  /** Waits for an open write to end; gives what `readRetry` needs. */
  *readBegin(): Op<number> {
    count(this.#statistics.reads, 1);
    let seen = yield* load32(this.#sequence, Order.acquire);
    while ((seen & OPEN) !== 0) {
      yield* wait(this.#sequence, seen);
      seen = yield* load32(this.#sequence, Order.acquire);
    }
    return seen;
  }

  /** Whether to begin again. Full (`dmb ishld` and a load on Arm): the reads before it stay before it. */
  *readRetry(begun: number): Op<boolean> {
    const isSpoiled = (yield* load32(this.#sequence, Order.full)) !== begun;
    if (isSpoiled) count(this.#statistics.retries, 1);
    return isSpoiled;
  }
}
