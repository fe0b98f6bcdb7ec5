/**
 * The faults that wait for their pages, in order of arrival: under one lock a fault is queued, a handler takes the next message, and
 * whoever resolved a range scans all that wait for those that lie in it. With many that wait the scans are what the lock is held for.
 *
 * No wake-up is lost:
 *  1. vCPU 0 faults and finds no page.
 *  2. A handler maps the page, for another's fault, and scans: vCPU 0 does not wait yet.
 *  3. vCPU 0 queues its fault. Nobody will map the page again, and nobody wakes it.
 * So who has queued a fault looks at the page once more before it waits (`queueUserfault`); and a page is mapped before
 * the scan, so that one of the two sees the other.
 */
import { Order, load32, read32, signalAdd32, wait, write32, type Op, type Word } from '#port';
import type { LockStatistics } from '../../locking/lock-account.ts';
import { SpinLock } from '../../locking/spin-lock.ts';
import type { Space } from './layout.ts';

export interface UserfaultQueueLayout {
  readonly lock: Word;
  /** Waitable: rung for each message, and for those who wait for messages to look up. */
  readonly bell: Word;
  /** {@link COUNTS}, then the agents that wait, in order of arrival. */
  readonly order: Word;
  /** A record for each agent. */
  readonly records: Word;
  readonly waiters: number;
}

/** Where the numbers of a queue are, from `order` on: those that wait now; queued, woken and withdrawn since the beginning. */
const COUNTS = { waiting: 0, queued: 4, woken: 8, withdrawn: 12 } as const;
const COUNTS_BYTES = 16;

/** Fields of a record. `woken` is waitable: wake-ups of this agent. */
const RECORD = { state: 0, page: 4, isWrite: 8, woken: 16 } as const;
const RECORD_BYTES = 64;
/** Of a fault that waits: whether a handler has its message. */
const State = { pending: 1, read: 2 } as const;

/** A message about a fault. */
export interface Userfault {
  /** Page of the address space, from its beginning. */
  readonly page: number;
  readonly isWrite: boolean;
}

/** Pages from `first` on. */
export interface PageRange {
  readonly first: number;
  readonly pages: number;
}

export interface QueueCounts {
  readonly waiting: number;
  readonly queued: number;
  readonly woken: number;
  readonly withdrawn: number;
}

export function userfaultQueueLayout(space: Space, waiters: number): UserfaultQueueLayout {
  return {
    lock: space.take(SpinLock.bytes(waiters)),
    bell: space.take(8),
    order: space.take(COUNTS_BYTES + 4 * waiters),
    records: space.take(waiters * RECORD_BYTES),
    waiters,
  };
}

/** A queue as one agent sees it. */
export class UserfaultQueue {
  readonly #layout: UserfaultQueueLayout;
  readonly #lock: SpinLock;
  /** The agent's own record. */
  readonly #own: number;

  constructor(layout: UserfaultQueueLayout, agent: number, statistics: LockStatistics) {
    this.#layout = layout;
    this.#lock = new SpinLock(layout.lock, layout.waiters, statistics);
    this.#own = agent;
  }

  /** Queues a fault of this agent. What it gives is for `withdraw` and `awaitWoken`. */
  *enqueue({ page, isWrite }: Userfault): Op<number> {
    const record = this.#record(this.#own);
    yield* this.#lock.lock();
    const seen = yield* load32(record + RECORD.woken, Order.once);
    write32(record + RECORD.state, State.pending);
    write32(record + RECORD.page, page);
    write32(record + RECORD.isWrite, isWrite ? 1 : 0);
    const waiting = this.#count('waiting');
    write32(this.#place(waiting), this.#own);
    this.#setCount('waiting', waiting + 1);
    this.#setCount('queued', this.#count('queued') + 1);
    yield* this.#lock.unlock();
    return seen;
  }

  /** Takes this agent's fault back, unless it was woken already. */
  *withdraw(seen: number): Op<void> {
    yield* this.#lock.lock();
    const woken = yield* load32(this.#record(this.#own) + RECORD.woken, Order.once);
    if (woken === seen) {
      this.#remove(this.#own);
      this.#setCount('withdrawn', this.#count('withdrawn') + 1);
    }
    yield* this.#lock.unlock();
  }

  /** Tells handlers of the message, then waits until somebody wakes this agent. Pairs with `wake`. */
  *awaitWoken(seen: number): Op<void> {
    const woken = this.#record(this.#own) + RECORD.woken;
    yield* this.ring();
    while ((yield* load32(woken, Order.acquire)) === seen) yield* wait(woken, seen);
  }

  /** The oldest message that no handler has taken, or null; the fault goes on waiting. */
  *next(): Op<Userfault | null> {
    yield* this.#lock.lock();
    const message = this.#takePending();
    yield* this.#lock.unlock();
    return message;
  }

  /** Wakes every agent that waits for a page of the range, taken by a handler or not. */
  *wake(range: PageRange): Op<void> {
    yield* this.#lock.lock();
    let kept = 0;
    const waiting = this.#count('waiting');
    for (let i = 0; i < waiting; i++) {
      const agent = read32(this.#place(i));
      const page = read32(this.#record(agent) + RECORD.page);
      if (page >= range.first && page < range.first + range.pages) {
        yield* signalAdd32(this.#record(agent) + RECORD.woken, 1, Order.release);
      } else write32(this.#place(kept++), agent);
    }
    this.#setCount('waiting', kept);
    this.#setCount('woken', this.#count('woken') + waiting - kept);
    yield* this.#lock.unlock();
  }

  /** For {@link awaitBell}: to be read before whatever may ring it next is looked for. */
  *bell(): Op<number> {
    return yield* load32(this.#layout.bell, Order.acquire);
  }

  /** Waits until the bell was rung since. Pairs with `ring`. */
  *awaitBell(seen: number): Op<void> {
    yield* wait(this.#layout.bell, seen);
  }

  *ring(): Op<void> {
    yield* signalAdd32(this.#layout.bell, 1, Order.release);
  }

  /** For checks while nothing runs. */
  counts(): QueueCounts {
    return {
      waiting: this.#count('waiting'),
      queued: this.#count('queued'),
      woken: this.#count('woken'),
      withdrawn: this.#count('withdrawn'),
    };
  }

  #takePending(): Userfault | null {
    const waiting = this.#count('waiting');
    for (let i = 0; i < waiting; i++) {
      const record = this.#record(read32(this.#place(i)));
      if (read32(record + RECORD.state) !== State.pending) continue;
      write32(record + RECORD.state, State.read);
      return {
        page: read32(record + RECORD.page),
        isWrite: read32(record + RECORD.isWrite) !== 0,
      };
    }
    return null;
  }

  #remove(agent: number): void {
    let kept = 0;
    const waiting = this.#count('waiting');
    for (let i = 0; i < waiting; i++) {
      const other = read32(this.#place(i));
      if (other !== agent) write32(this.#place(kept++), other);
    }
    this.#setCount('waiting', kept);
  }

  #count(name: keyof typeof COUNTS): number {
    return read32(this.#layout.order + COUNTS[name]);
  }

  #setCount(name: keyof typeof COUNTS, value: number): void {
    write32(this.#layout.order + COUNTS[name], value);
  }

  #place(i: number): Word {
    return this.#layout.order + COUNTS_BYTES + i * 4;
  }

  #record(agent: number): Word {
    return this.#layout.records + agent * RECORD_BYTES;
  }
}
