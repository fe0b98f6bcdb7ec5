/**
 * Sleepable RCU (McKenney, "Sleepable RCU", 2006): read sections that never wait and may sleep, and `synchronize`, which returns once
 * every section has ended that began before it.
 *
 * Readers count under one of two indices. `synchronize` turns new readers to the other index and waits for the old one to drain, so
 * sections that begin after the turn do not delay it. Deviation: a section begins and ends on one agent, so an agent has one flag per
 * index, on its own line, where the kernel has sums of counters over all CPUs.
 *
 * One object per agent. Sections of an agent may be nested; only the outermost is seen by others.
 */
import {
  Barrier,
  Order,
  barrier,
  load32,
  signal32,
  store32,
  wait,
  type Op,
  type Word,
} from '#port';
import { Sections, type SectionOptions } from './sections.ts';
import { TicketQueue } from './ticket-queue.ts';
import { LINE_BYTES } from './turn-slots.ts';

/** Values of an agent's flag. */
const OUTSIDE = 0;
const INSIDE = 1;
const FLAG_BYTES = 8;

export class Srcu extends Sections {
  readonly kind = 'SRCU';
  /** 0 or 1: where new sections are flagged. */
  readonly #index: Word;
  /** A line for each agent: two waitable flags. */
  readonly #flags: Word;
  readonly #agents: number;
  readonly #agent: number;
  /** Grace periods pass one after the other. */
  readonly #periods: TicketQueue;
  /** The flag of the open section. */
  #flag: Word = 0;

  /** Bytes of shared memory for up to `agents` agents. */
  static bytes(agents: number): number {
    return (1 + agents) * LINE_BYTES + TicketQueue.bytes(agents);
  }

  constructor(options: SectionOptions) {
    super(options);
    this.#index = options.at;
    this.#flags = options.at + LINE_BYTES;
    this.#agents = options.agents;
    this.#agent = options.agent;
    this.#periods = new TicketQueue(this.#flags + options.agents * LINE_BYTES, options.agents);
  }

  /**
   * Dekker with `synchronize`: this stores the flag and then loads what is protected; the updater publishes and then loads the flag. One
   * of the two sees the other. With the flag stored later: reader loads the old pointer; updater publishes, finds no flag, frees;
   * reader uses what is freed.
   */
  *readLock(): Op<void> {
    if (!this.enter()) return;
    const index = yield* load32(this.#index, Order.once);
    this.#flag = this.#flagOf(this.#agent, index);
    yield* signal32(this.#flag, INSIDE, Order.full);
    this.opened();
  }

  /** Pairs with the wait in `synchronize`; release: the section's accesses come before what the updater frees. */
  *readUnlock(): Op<void> {
    if (this.leave()) yield* signal32(this.#flag, OUTSIDE, Order.release);
  }

  /**
   * Returns once every read section has ended that may have seen what was there before the call; outside of read sections only. It waits
   * for at most two sections of each agent: one under each index, begun before the turn.
   *
   * The idle index is waited for too: a reader loads index 0 and is late; one `synchronize` turns to 1, finds nobody under 0 and
   * returns; the reader raises its flag under 0 and loads the pointer; the next `synchronize` turns to 0 and looks under 1 only.
   */
  *synchronize(): Op<void> {
    this.assertQuiescent();
    yield* this.#periods.enter(this.synchronizes);
    yield* barrier(Barrier.dmb);
    const index = yield* load32(this.#index, Order.once);
    yield* this.#drain(1 - index);
    yield* store32(this.#index, 1 - index, Order.full);
    yield* this.#drain(index);
    this.synchronized();
    yield* this.#periods.leave();
  }

  *#drain(index: number): Op<void> {
    for (let agent = 0; agent < this.#agents; agent++) {
      const flag = this.#flagOf(agent, index);
      let seen = yield* load32(flag, Order.acquire);
      while (seen !== OUTSIDE) {
        this.synchronizes.waits();
        yield* wait(flag, seen);
        seen = yield* load32(flag, Order.acquire);
      }
    }
  }

  #flagOf(agent: number, index: number): Word {
    return this.#flags + agent * LINE_BYTES + index * FLAG_BYTES;
  }
}
