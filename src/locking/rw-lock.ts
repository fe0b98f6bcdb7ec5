/**
 * A phase-fair reader-writer lock (Brandenburg and Anderson, "Spin-based reader-writer synchronization for multiprocessor real-time
 * systems", 2010). Reading and writing take turns while both sides want the lock: a reader waits for at most one write, a writer for the
 * writers before it in line and, at its turn, for the readers that came before it.
 *
 * Deviations from the paper: one word counts the agents of both sides, so that whoever comes and finds nobody is inside with one
 * addition and out with one operation. Readers go on together when the writer before them ends; the readers of a phase that a writer has
 * to wait for count themselves down on a word of their own.
 *
 * One object per agent; an agent holds the lock once, in one mode.
 */
import {
  Order,
  add32,
  cas32,
  event,
  load32,
  read32,
  signal32,
  signalAdd32,
  wait,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind, LockMode } from '../engine/events.ts';
import { LockAccount, type ReadWriteStatistics } from './lock-account.ts';
import { LINE_BYTES, TurnSlots } from './turn-slots.ts';

export type RwMode = 'read' | 'write';

/**
 * Fields of the state: readers that are inside or wait, writers that are inside or wait, and the phase: writes that ended while somebody
 * waited, modulo 4, so that it wraps off the top.
 */
const READER = 1;
const READERS = 0x7fff;
const WRITER = 1 << 15;
const WRITERS = 0x7fff << 15;
const PHASE_SHIFT = 30;
const PHASE = 1 << PHASE_SHIFT;
const PHASES = 3 << PHASE_SHIFT;

export class RwLock {
  readonly #state: Word;
  /** Waitable: minus the readers that the writer at its turn has to wait for. */
  readonly #inside: Word;
  /** Waitable: the phase up to which readers may go on. */
  readonly #released: Word;
  /** Next ticket of a writer that finds another one. */
  readonly #tickets: Word;
  /** Plain, under the lock: the next ticket to be granted. */
  readonly #served: Word;
  readonly #turns: TurnSlots;
  readonly #reads: LockAccount;
  readonly #writes: LockAccount;
  #mode: RwMode | null = null;
  /** As a writer: the phase of the state. */
  #phase = 0;

  /** Bytes of shared memory for up to `agents` contenders, at most 32,767. */
  static bytes(agents: number): number {
    return 5 * LINE_BYTES + TurnSlots.bytes(agents);
  }

  /** `at`: zeroed memory of `RwLock.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number, statistics: ReadWriteStatistics) {
    this.#state = at;
    this.#inside = at + LINE_BYTES;
    this.#released = at + 2 * LINE_BYTES;
    this.#tickets = at + 3 * LINE_BYTES;
    this.#served = at + 4 * LINE_BYTES;
    this.#turns = new TurnSlots(at + 5 * LINE_BYTES, agents);
    this.#reads = new LockAccount(statistics.read);
    this.#writes = new LockAccount(statistics.write);
  }

  /**
   * One addition both counts this reader and shows it the writers, as the writer's shows it the readers. With a load and an addition
   * instead: reader finds no writer; writer comes and finds no reader; reader adds; both are inside.
   */
  *readLock(): Op<void> {
    this.#assertFree();
    const before = yield* add32(this.#state, READER, Order.acquire, ~READERS, WRITERS);
    if ((before & WRITERS) !== 0) yield* this.#awaitPhase(before >>> PHASE_SHIFT);
    this.#mode = 'read';
    this.#reads.acquired();
    event(EventKind.lockAcquired, this.#state, 0, LockMode.shared);
  }

  /** A writer that is there waits for this reader: it came after it, or the reader would wait. Pairs with `#awaitReaders`. */
  *readUnlock(): Op<void> {
    this.assertHeld('read');
    this.#reads.released();
    this.#mode = null;
    event(EventKind.lockReleased, this.#state, 0, LockMode.shared);
    const before = yield* add32(this.#state, -READER, Order.release, ~READERS);
    if ((before & WRITERS) !== 0) yield* signalAdd32(this.#inside, 1, Order.release);
  }

  *writeLock(): Op<void> {
    this.#assertFree();
    const before = yield* add32(this.#state, WRITER, Order.acquire, ~0, READERS | WRITERS);
    this.#phase = before & PHASES;
    if (before !== this.#phase) yield* this.#awaitTurn(before);
    this.#mode = 'write';
    this.#writes.acquired();
    event(EventKind.lockAcquired, this.#state, 0, LockMode.exclusive);
  }

  *writeUnlock(): Op<void> {
    this.assertHeld('write');
    this.#writes.released();
    this.#mode = null;
    event(EventKind.lockReleased, this.#state, 0, LockMode.exclusive);
    const isAlone = yield* cas32(this.#state, this.#phase | WRITER, this.#phase, Order.release);
    if (!isAlone) yield* this.#handOver();
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
    const state = yield* load32(this.#state, Order.once);
    if (this.#mode === 'read') return (state & WRITERS) !== 0;
    return state !== (this.#phase | WRITER);
  }

  /**
   * Waits until the write of this phase has ended. `released` is this phase, or the one before it while that is being handed over, until
   * it is the next; there it stays, as the next writer waits for this reader. Two bits tell the three apart.
   */
  *#awaitPhase(phase: number): Op<void> {
    this.#reads.waits();
    const next = (phase + 1) & 3;
    let released = yield* load32(this.#released, Order.acquire);
    while (released !== next) {
      yield* wait(this.#released, released);
      released = yield* load32(this.#released, Order.acquire);
    }
    this.#reads.waited();
  }

  /** The first writer to come counts the readers that are inside; who comes behind another one is told when they are counted. */
  *#awaitTurn(before: number): Op<void> {
    this.#writes.waits();
    if ((before & WRITERS) === 0) {
      yield* signalAdd32(this.#inside, -(before & READERS), Order.full);
    } else {
      const ticket = yield* add32(this.#tickets, 1, Order.once);
      yield* this.#turns.await(ticket);
    }
    yield* this.#awaitReaders();
    this.#phase = (yield* load32(this.#state, Order.once)) & PHASES;
    this.#writes.waited();
  }

  /** Readers may leave before they are counted, and `inside` be above 0; once they are, 0 is when the last of them has left. */
  *#awaitReaders(): Op<void> {
    let inside = yield* load32(this.#inside, Order.acquire);
    while (inside !== 0) {
      yield* wait(this.#inside, inside);
      inside = yield* load32(this.#inside, Order.acquire);
    }
  }

  /**
   * One addition ends the write and begins the phase of the readers that wait. They are counted before they may leave, and `released` is
   * stored before the next writer is let go. The other way round: writer 1 goes on, ends, stores phase 2; writer 0 stores its 1; a
   * reader of phase 1 waits for a 2 that was there and is gone.
   */
  *#handOver(): Op<void> {
    const before = yield* add32(this.#state, PHASE - WRITER, Order.release);
    const readers = before & READERS;
    const isLast = (before & WRITERS) === WRITER;
    if (!isLast && readers > 0) yield* signalAdd32(this.#inside, -readers, Order.once);
    yield* signal32(this.#released, ((before >>> PHASE_SHIFT) + 1) & 3, Order.release);
    if (!isLast) yield* this.#grantNext();
  }

  /** The next ticket may not be drawn yet: whoever draws it finds its turn granted. */
  *#grantNext(): Op<void> {
    const ticket = read32(this.#served);
    write32(this.#served, ticket + 1);
    yield* this.#turns.grant(ticket);
  }

  #assertFree(): void {
    if (this.#mode !== null) throw new Error('reader-writer lock taken twice by one agent');
  }
}
