/**
 * A trace in shared memory: the events of all agents in one total order, on their way from the agents to one reader.
 *
 * One ring for all agents, since all write under one lock: whoever holds it makes its access and its record as one step, so the order of
 * the records *is* the order of the accesses, and nobody merges anything. The ring is bounded and drops nothing: a full one blocks
 * whoever would write next, with the lock held, until the reader has made room.
 *
 * The ring is no part of the simulated state; it has a memory of its own.
 */
import { RECORD, type EventSink } from './events.ts';
import { waiting } from './wait.ts';

/** Indexes of the ring's words; each but the records on a line of its own. */
export const TraceWord = {
  /** 1 while somebody writes. */
  lock: 0,
  /** Records written; wraps at 2^32. */
  head: 32,
  /** How many may have been written before the next one has to wait: 0 until the reader is there. */
  limit: 64,
  /** 1 once nobody writes any more. */
  isClosed: 96,
  records: 128,
} as const;

/** Records between two messages of the reader that there is room again, at most. */
const BATCH = 1024;
/** How long the reader of an empty ring sleeps before it looks again, in milliseconds: nobody wakes it. */
const IDLE_MS = 1;

/** The shared memory of a ring; `capacity`: records, a power of two. */
export function createRing(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * (TraceWord.records + capacity * RECORD.words));
}

/** Records that a ring holds. */
export function capacityOf(ring: Int32Array): number {
  return (ring.length - TraceWord.records) / RECORD.words;
}

/** Index of the first word of a record. */
export function recordIndex(sequence: number, capacity: number): number {
  return TraceWord.records + (sequence & (capacity - 1)) * RECORD.words;
}

/** A ring as it was created, for another run; nobody writes or reads. */
export function resetRing(buffer: SharedArrayBuffer): void {
  new Int32Array(buffer).fill(0, 0, TraceWord.records);
}

/** Says that nobody writes any more: the reader returns after the last record. */
export function closeRing(buffer: SharedArrayBuffer): void {
  Atomics.store(new Int32Array(buffer), TraceWord.isClosed, 1);
}

/** The one who reads. */
export class TraceReader {
  readonly #ring: Int32Array;
  readonly #capacity: number;
  readonly #record = new Int32Array(RECORD.words);
  #next = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#ring = new Int32Array(buffer);
    this.#capacity = capacityOf(this.#ring);
  }

  /**
   * Lets agents write, and hands their records to the sinks in order until the ring is closed and empty. Gives how many there were. Before
   * this call no agent has made a single access: memory is as the run begins.
   */
  drain(sinks: readonly EventSink[]): number {
    let events = 0;
    for (;;) {
      this.#makeRoom();
      // In this order: what was written before the ring was closed is seen below.
      const isClosed = Atomics.load(this.#ring, TraceWord.isClosed) === 1;
      const head = Atomics.load(this.#ring, TraceWord.head);
      const written = (head - this.#next) | 0;
      if (written === 0) {
        if (isClosed) return events;
        waiting.wait(this.#ring, TraceWord.head, head, IDLE_MS);
      }
      const count = Math.min(written, BATCH);
      for (let i = 0; i < count; i++) this.#hand(sinks);
      events += count;
    }
  }

  #hand(sinks: readonly EventSink[]): void {
    const record = this.#record;
    const from = recordIndex(this.#next, this.#capacity);
    for (let i = 0; i < RECORD.words; i++) record[i] = this.#ring[from + i] as number;
    this.#next = (this.#next + 1) | 0;
    for (const sink of sinks) sink.onEvent(record);
  }

  /** Pairs with the wait in `TraceWriter.begin`: a writer looks at the limit, and sleeps on it. */
  #makeRoom(): void {
    Atomics.store(this.#ring, TraceWord.limit, (this.#next + this.#capacity) | 0);
    Atomics.notify(this.#ring, TraceWord.limit);
  }
}
