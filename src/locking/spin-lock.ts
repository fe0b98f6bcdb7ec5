/**
 * A FIFO spin lock: an array-based queue lock (Anderson, "The performance of spin lock alternatives", 1990). A ticket names
 * a slot; each waiter waits on its own slot's word, so an unlock wakes exactly the next in line.
 *
 * One object per agent: the ticket it holds is the agent's own. Deviation from the paper: a waiter blocks through the port.
 */
import { Order, add32, count, event, load32, now, signal32, wait, type Op, type Word } from '#port';
import { EventKind } from '../engine/events.ts';
import { sampleInto } from '../engine/histogram.ts';

/** Offsets into the agent's statistics block: float counters, then two histograms. */
export interface LockStatistics {
  readonly acquisitions: number;
  readonly contended: number;
  /** Total nanoseconds waited; every contended wait is timed. */
  readonly waitTotalNs: number;
  readonly waitNs: number;
  /** Holds of every {@link HOLD_SAMPLE}th ticket. */
  readonly holdNs: number;
}

/** One hold in this many is timed; a power of two. */
export const HOLD_SAMPLE = 16;

const LINE_BYTES = 128;
const SLOT_BYTES = 64;

export class SpinLock {
  readonly #ticketWord: Word;
  readonly #slots: Word;
  readonly #slotMask: number;
  readonly #statistics: LockStatistics;
  #ticket = 0;
  #held = false;
  #since = 0;

  /** Bytes of shared memory for up to `agents` contenders, a multiple of a cache line. */
  static bytes(agents: number): number {
    return LINE_BYTES + slotCount(agents) * SLOT_BYTES;
  }

  /** `at`: zeroed memory of `SpinLock.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number, statistics: LockStatistics) {
    this.#ticketWord = at;
    this.#slots = at + LINE_BYTES;
    this.#slotMask = slotCount(agents) - 1;
    this.#statistics = statistics;
  }

  *lock(): Op<void> {
    if (this.#held) throw new Error('spin lock taken twice by one agent');
    const ticket = yield* add32(this.#ticketWord, 1, Order.acquire);
    const slot = this.#slotOf(ticket);
    const seen = yield* load32(slot, Order.acquire);
    if (seen !== ticket) yield* this.#waitFor(slot, ticket, seen);
    this.#ticket = ticket;
    this.#held = true;
    count(this.#statistics.acquisitions, 1);
    if (this.#isSampled()) this.#since = now();
    event(EventKind.lockAcquired, this.#ticketWord, ticket, 0);
  }

  /** Pairs with the wait in `lock` of the next in line. */
  *unlock(): Op<void> {
    this.assertHeld();
    if (this.#isSampled()) sampleInto(this.#statistics.holdNs, now() - this.#since);
    this.#held = false;
    event(EventKind.lockReleased, this.#ticketWord, this.#ticket, 0);
    const next = (this.#ticket + 1) | 0;
    yield* signal32(this.#slotOf(next), next, Order.release);
  }

  assertHeld(): void {
    if (!this.#held) throw new Error('spin lock is not held by this agent');
  }

  /** Whether another agent stands in line behind the holder. */
  *isContended(): Op<boolean> {
    this.assertHeld();
    const next = yield* load32(this.#ticketWord, Order.once);
    return ((next - this.#ticket) | 0) > 1;
  }

  *#waitFor(slot: Word, ticket: number, first: number): Op<void> {
    const since = now();
    let seen = first;
    while (seen !== ticket) {
      yield* wait(slot, seen);
      seen = yield* load32(slot, Order.acquire);
    }
    const waited = now() - since;
    count(this.#statistics.contended, 1);
    count(this.#statistics.waitTotalNs, waited);
    sampleInto(this.#statistics.waitNs, waited);
  }

  #isSampled(): boolean {
    return (this.#ticket & (HOLD_SAMPLE - 1)) === 0;
  }

  #slotOf(ticket: number): Word {
    return this.#slots + (ticket & this.#slotMask) * SLOT_BYTES;
  }
}

/** Slots: a power of two that no two waiting agents share. */
function slotCount(agents: number): number {
  let slots = 1;
  while (slots < agents) slots *= 2;
  return slots;
}
