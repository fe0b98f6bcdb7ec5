/**
 * An agent's end of a trace. `begin` and `end` stand around an access: between them nobody else makes one, and there is room for the
 * record. All accesses of all agents stand between such a pair, so what is between may be plain.
 *
 * The lock is short (an access and eight words) and its waiters may be many more than cores, most of them with a holder that the
 * operating system has put aside. So they spin a little, then sleep for a while that nobody cuts short: an unlock wakes nobody, which keeps it at
 * one store. Whoever sleeps looks at the stop word, as the holder may be gone for good.
 */
import { RECORD } from './events.ts';
import { Stop, Stopped, type Attachment } from './port.ts';
import { TraceWord, capacityOf, recordIndex } from './trace-ring.ts';
import { waiting } from './wait.ts';

/** Looks at the lock before a waiter sleeps: a few critical sections. */
const SPINS = 64;
/** How long it sleeps, in milliseconds. */
const SLEEP_MS = 0.1;
/** Whoever waits for room looks at the stop word at least this often, in milliseconds. */
const SLICE_MS = 50;
const AGENT_SHIFT = 16;

export class TraceWriter {
  readonly #ring: Int32Array;
  readonly #capacity: number;
  readonly #agent: number;
  readonly #memory: Int32Array;
  readonly #stop: number;

  /** @throws Error if nobody would ever read what is written. */
  constructor({ trace, memory, stop }: Attachment) {
    if (trace === undefined) throw new Error('the traced engine needs a ring');
    this.#ring = new Int32Array(trace.ring);
    this.#capacity = capacityOf(this.#ring);
    this.#agent = trace.agent;
    this.#memory = new Int32Array(memory.buffer);
    this.#stop = stop >>> 2;
  }

  /**
   * Takes the lock, and waits for room.
   * @throws Stopped on stop.
   */
  begin(): void {
    const ring = this.#ring;
    while (Atomics.compareExchange(ring, TraceWord.lock, 0, 1) !== 0) this.#backOff();
    const head = ring[TraceWord.head] as number;
    let limit = Atomics.load(ring, TraceWord.limit);
    while (((head - limit) | 0) >= 0) {
      waiting.wait(ring, TraceWord.limit, limit, SLICE_MS);
      this.#checkStop();
      limit = Atomics.load(ring, TraceWord.limit);
    }
  }

  /** Writes the record of the access, and gives the lock back. */
  end(
    kind: number,
    at: number,
    oldLo: number,
    oldHi: number,
    newLo: number,
    newHi: number,
    extra: number,
  ): void {
    const ring = this.#ring;
    const head = ring[TraceWord.head] as number;
    const record = recordIndex(head, this.#capacity);
    ring[record + RECORD.sequence] = head + 1;
    ring[record + RECORD.agentAndKind] = (this.#agent << AGENT_SHIFT) | kind;
    ring[record + RECORD.location] = at;
    ring[record + RECORD.oldLo] = oldLo;
    ring[record + RECORD.oldHi] = oldHi;
    ring[record + RECORD.newLo] = newLo;
    ring[record + RECORD.newHi] = newHi;
    ring[record + RECORD.extra] = extra;
    // Release: pairs with the reader's load of the head.
    Atomics.store(ring, TraceWord.head, (head + 1) | 0);
    Atomics.store(ring, TraceWord.lock, 0);
  }

  #backOff(): void {
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(this.#ring, TraceWord.lock) === 0) return;
      waiting.pause();
    }
    waiting.wait(this.#ring, TraceWord.lock, 1, SLEEP_MS);
    this.#checkStop();
  }

  #checkStop(): void {
    if (Atomics.load(this.#memory, this.#stop) === Stop.abort) throw new Stopped();
  }
}
