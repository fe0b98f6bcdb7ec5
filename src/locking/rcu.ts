/**
 * RCU (McKenney and Slingwine, "Read-copy update", 1998): read sections that never wait and may not sleep, grace periods, and frees
 * that are put off until after one.
 *
 * An agent is quiescent whenever it is in no section: in guest mode, asleep, and in all code between. Deviation: the kernel's section
 * costs nothing because it waits for every CPU to pass through such a state; here a section is seen by a word of its agent, which is two
 * operations on the agent's own line, and a grace period waits for sections only.
 *
 * What is to be freed later is a record, not a closure: one word inside the object itself, as the kernel's `rcu_head`, so that putting off
 * a free cannot fail. One object per agent. Sections of an agent may be nested; only the outermost is seen by others.
 */
import {
  Barrier,
  Order,
  add32,
  barrier,
  cas32,
  load32,
  read32,
  signalAdd32,
  store32,
  wait,
  write32,
  type Op,
  type Word,
} from '#port';
import { mightSleep } from './might-sleep.ts';
import { Sections, type SectionOptions } from './sections.ts';
import { LINE_BYTES } from './turn-slots.ts';

/** Bit 0 of an agent's word: inside a section; above, sections that ended. */
const INSIDE = 1;
/** Behind the waitable word of records that wait: 1 once no more will come. */
const RETIRED = 8;

/** What a daemon does with a record after its grace period. */
export interface Reclaimer {
  /** `head`: the record that was given to `call`; nobody else knows the object any more. */
  reclaim(head: Word): Op<void>;
}

export class Rcu extends Sections {
  readonly kind = 'RCU';
  /** The newest of the records that wait for a daemon, linked to the one before it. */
  readonly #newest: Word;
  /** Monotone: records that are about to wait; waitable: records that wait, or did, behind it {@link RETIRED}; waitable: records reclaimed. */
  readonly #called: Word;
  readonly #queued: Word;
  readonly #reclaimed: Word;
  /** A line for each agent, waitable: raised by one at the begin and at the end of a section. */
  readonly #sections: Word;
  readonly #agents: number;
  readonly #agent: number;

  /** Bytes of shared memory for up to `agents` agents. */
  static bytes(agents: number): number {
    return (4 + agents) * LINE_BYTES;
  }

  constructor(options: SectionOptions) {
    super(options);
    this.#newest = options.at;
    this.#called = options.at + LINE_BYTES;
    this.#queued = options.at + 2 * LINE_BYTES;
    this.#reclaimed = options.at + 3 * LINE_BYTES;
    this.#sections = options.at + 4 * LINE_BYTES;
    this.#agents = options.agents;
    this.#agent = options.agent;
  }

  /**
   * Full, as Dekker with `synchronize`: this raises its word and then loads what is protected; the updater unlinks and then loads the
   * word. One of the two sees the other.
   */
  *readLock(): Op<void> {
    if (!this.enter()) return;
    yield* signalAdd32(this.#sectionsOf(this.#agent), 1, Order.full);
    this.opened();
  }

  /** Release: the section's accesses come before what is freed after it. Pairs with the wait in `synchronize`. */
  *readUnlock(): Op<void> {
    if (this.leave()) yield* signalAdd32(this.#sectionsOf(this.#agent), 1, Order.release);
  }

  /**
   * Returns once every read section has ended that began before the call; outside of read sections only. Waits for at most one section of
   * each agent, as the word of an agent that began another one has changed.
   */
  *synchronize(): Op<void> {
    this.assertQuiescent();
    yield* barrier(Barrier.dmb);
    for (let agent = 0; agent < this.#agents; agent++) {
      yield* this.#awaitSection(this.#sectionsOf(agent));
    }
    this.synchronized();
  }

  /**
   * Puts off the free of an object that nobody can reach any more but readers inside a section: a daemon reclaims it after a grace period.
   * `head`: 4 bytes of the object that no reader looks at; they link it to the record before. Never waits, and may be called in a section and under any lock.
   */
  *call(head: Word): Op<void> {
    yield* add32(this.#called, 1, Order.once);
    let newest: number;
    do {
      newest = yield* load32(this.#newest, Order.once);
      write32(head, newest);
    } while (!(yield* cas32(this.#newest, newest, head, Order.release)));
    yield* signalAdd32(this.#queued, 1, Order.release);
  }

  /**
   * Returns once all that was put off before the call is reclaimed: `rcu_barrier`. Needs a daemon that runs. Records are counted before
   * they are queued: were it after, a record that was taken before it is counted would stand for one that still waits. May sleep.
   */
  *barrier(): Op<void> {
    mightSleep();
    this.assertQuiescent();
    const called = yield* load32(this.#called, Order.acquire);
    let reclaimed = yield* load32(this.#reclaimed, Order.acquire);
    while (((called - reclaimed) | 0) > 0) {
      yield* wait(this.#reclaimed, reclaimed);
      reclaimed = yield* load32(this.#reclaimed, Order.acquire);
    }
  }

  /**
   * What the daemon does, one agent's part: sleeps until something is put off, and ends once it is retired and has reclaimed all. It waits
   * without a look at the list first, so that it takes no step where nothing was ever put off: what a daemon before it has seen is reclaimed.
   */
  *reclaimUntilRetired(reclaimer: Reclaimer): Op<void> {
    let queued = read32(this.#reclaimed);
    for (let isRetired = false; !isRetired;) {
      yield* wait(this.#queued, queued);
      queued = yield* load32(this.#queued, Order.acquire);
      isRetired = (yield* load32(this.#queued + RETIRED, Order.acquire)) === 1;
      yield* this.#reclaimBatch(reclaimer);
    }
  }

  /** Has the daemon end. Nothing is put off any more. */
  *retire(): Op<void> {
    yield* store32(this.#queued + RETIRED, 1, Order.release);
    yield* signalAdd32(this.#queued, 1, Order.release);
  }

  /** Takes all records at once: one grace period serves them all. */
  *#reclaimBatch(reclaimer: Reclaimer): Op<void> {
    let head = yield* this.#takeAll();
    if (head === 0) return;
    yield* this.synchronize();
    let records = 0;
    while (head !== 0) {
      const next = read32(head);
      yield* reclaimer.reclaim(head);
      records++;
      head = next;
    }
    yield* signalAdd32(this.#reclaimed, records, Order.release);
  }

  *#takeAll(): Op<Word> {
    for (;;) {
      const newest = yield* load32(this.#newest, Order.acquire);
      if (newest === 0 || (yield* cas32(this.#newest, newest, 0, Order.acquire))) return newest;
    }
  }

  *#awaitSection(sections: Word): Op<void> {
    const begun = yield* load32(sections, Order.acquire);
    if ((begun & INSIDE) === 0) return;
    this.synchronizes.waits();
    let seen = begun;
    while (seen === begun) {
      yield* wait(sections, begun);
      seen = yield* load32(sections, Order.acquire);
    }
  }

  #sectionsOf(agent: number): Word {
    return this.#sections + agent * LINE_BYTES;
  }
}
