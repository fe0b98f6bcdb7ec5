/**
 * A phase-fair reader-writer lock (Brandenburg and Anderson, "Spin-based reader-writer synchronization for multiprocessor real-time
 * systems", 2010, lock PF-T). Reading and writing take turns while both sides want the lock: a reader waits for at most one write, a
 * writer for the writers before it in line and, once it has announced itself, for the readers that came before that.
 *
 * Deviations from the paper: writers line up in a {@link TicketQueue}, and waiting readers wait for the count of writes done instead of
 * for the word that arriving readers write, so that an arrival wakes nobody.
 *
 * One object per agent; an agent holds the lock once, in one mode.
 */
import {
  Order,
  add32,
  event,
  load32,
  signal32,
  signalAdd32,
  wait,
  type Op,
  type Word,
} from '#port';
import { EventKind, LockMode } from '../engine/events.ts';
import { LockAccount, type ReadWriteStatistics } from './lock-account.ts';
import { LINE_BYTES, TicketQueue } from './ticket-queue.ts';

export type RwMode = 'read' | 'write';

/** Fields of the word of readers that entered; the count of them above. */
const WRITER = 1;
/** Bit 0 of that writer's ticket. */
const PHASE = 2;
const PHASE_SHIFT = 1;
const READER = 4;
const READER_SHIFT = 2;

export class RwLock {
  /** Readers that entered, and the mark of the writer that announced itself. */
  readonly #entered: Word;
  /** Waitable: readers that left, in units of `READER`. */
  readonly #left: Word;
  /** Waitable: writes done, which is the ticket of the writer whose turn it is. */
  readonly #written: Word;
  readonly #writers: TicketQueue;
  readonly #reads: LockAccount;
  readonly #writes: LockAccount;
  #mode: RwMode | null = null;
  /** As a reader: the number of this read. */
  #number = 0;
  /** As a writer: the word `entered` just before the mark. */
  #before = 0;

  /** Bytes of shared memory for up to `agents` contenders. */
  static bytes(agents: number): number {
    return 3 * LINE_BYTES + TicketQueue.bytes(agents);
  }

  /** `at`: zeroed memory of `RwLock.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number, statistics: ReadWriteStatistics) {
    this.#entered = at;
    this.#left = at + LINE_BYTES;
    this.#written = at + 2 * LINE_BYTES;
    this.#writers = new TicketQueue(at + 3 * LINE_BYTES, agents);
    this.#reads = new LockAccount(statistics.read);
    this.#writes = new LockAccount(statistics.write);
  }

  /**
   * One addition both counts this reader and shows it the writer, as the writer's one addition both marks the word and shows it the
   * readers. With a load and an addition instead: reader finds no mark; writer marks and finds no reader; reader adds; both are inside.
   */
  *readLock(): Op<void> {
    this.#assertFree();
    const before = yield* add32(this.#entered, READER, Order.acquire);
    if ((before & WRITER) !== 0) yield* this.#awaitWriter(before & PHASE);
    this.#mode = 'read';
    this.#number = before >>> READER_SHIFT;
    this.#reads.acquired(this.#number);
    event(EventKind.lockAcquired, this.#entered, this.#number, LockMode.shared);
  }

  /** Pairs with the wait in `writeLock`; release: what was read was read before the writer goes on. */
  *readUnlock(): Op<void> {
    this.assertHeld('read');
    this.#reads.released();
    this.#mode = null;
    event(EventKind.lockReleased, this.#entered, this.#number, LockMode.shared);
    yield* signalAdd32(this.#left, READER, Order.release);
  }

  *writeLock(): Op<void> {
    this.#assertFree();
    yield* this.#writers.enter(this.#writes);
    this.#before = yield* add32(this.#entered, this.#mark(), Order.full);
    // Who enters from here on waits for this writer, so the count of those that left stops at `before`.
    let left = yield* load32(this.#left, Order.acquire);
    while (left !== this.#before) {
      this.#writes.waits();
      yield* wait(this.#left, left);
      left = yield* load32(this.#left, Order.acquire);
    }
    this.#mode = 'write';
    this.#writes.acquired(this.#writers.ticket);
    event(EventKind.lockAcquired, this.#entered, this.#writers.ticket, LockMode.exclusive);
  }

  /**
   * The next writer is let go last. Before the mark is gone its own would carry into the count of readers. Before `written` is
   * stored: writer 1 goes on, writes, stores 2; writer 0 stores its 1; a reader that meets writer 2 (phase 0) finds phase 1,
   * takes writer 2 for done and reads beside it. The order of the first two is free: a reader between them enters either way.
   */
  *writeUnlock(): Op<void> {
    this.assertHeld('write');
    this.#writes.released();
    this.#mode = null;
    event(EventKind.lockReleased, this.#entered, this.#writers.ticket, LockMode.exclusive);
    yield* add32(this.#entered, -this.#mark(), Order.release);
    yield* signal32(this.#written, (this.#writers.ticket + 1) | 0, Order.release);
    yield* this.#writers.leave();
  }

  /** Held in exactly this mode. */
  assertHeld(mode: RwMode): void {
    if (this.#mode !== mode) {
      throw new Error(`reader-writer lock is not held for ${mode} by this agent`);
    }
  }

  /** Whether an agent waits that this hold keeps out: any but readers while reading. */
  *isContended(): Op<boolean> {
    if (this.#mode === null) throw new Error('reader-writer lock is not held by this agent');
    const entered = yield* load32(this.#entered, Order.once);
    if (this.#mode === 'read') return (entered & WRITER) !== 0;
    if (entered !== ((this.#before + this.#mark()) | 0)) return true;
    return yield* this.#writers.isContended();
  }

  /**
   * Waits until the writer of this phase is done. One bit tells it: the next writer waits for this reader, so only that one write can
   * be done before this reader leaves.
   */
  *#awaitWriter(phase: number): Op<void> {
    let written = yield* load32(this.#written, Order.acquire);
    while (((written << PHASE_SHIFT) & PHASE) === phase) {
      this.#reads.waits();
      yield* wait(this.#written, written);
      written = yield* load32(this.#written, Order.acquire);
    }
  }

  #mark(): number {
    return WRITER | ((this.#writers.ticket << PHASE_SHIFT) & PHASE);
  }

  #assertFree(): void {
    if (this.#mode !== null) throw new Error('reader-writer lock taken twice by one agent');
  }
}
