/**
 * What a spin lock and a mutex share: one holder at a time, in the order of arrival. Nobody is overtaken, so of `agents` contenders
 * each waits for at most `agents - 1` others, once each.
 */
import { event, type Op, type Word } from '#port';
import { EventKind, LockMode } from '../engine/events.ts';
import { LockAccount, type LockStatistics } from './lock-account.ts';
import { TicketQueue } from './ticket-queue.ts';

export abstract class ExclusiveLock {
  /** What it is, in an error; keeps one kind from being taken for the other. */
  abstract readonly kind: string;
  readonly #queue: TicketQueue;
  readonly #account: LockAccount;
  #isHeld = false;

  /** Bytes of shared memory for up to `agents` contenders. */
  static bytes(agents: number): number {
    return TicketQueue.bytes(agents);
  }

  /** `at`: zeroed memory of `bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number, statistics: LockStatistics) {
    this.#queue = new TicketQueue(at, agents);
    this.#account = new LockAccount(statistics);
  }

  *lock(): Op<void> {
    if (this.#isHeld) throw new Error(`${this.kind} taken twice by one agent`);
    const waited = yield* this.#queue.enter(this.#account);
    this.#isHeld = true;
    if (waited) this.#account.waited();
    this.#account.acquired();
    event(EventKind.lockAcquired, this.#queue.at, this.#queue.ticket, LockMode.exclusive);
  }

  *unlock(): Op<void> {
    this.assertHeld();
    this.#account.released();
    this.#isHeld = false;
    event(EventKind.lockReleased, this.#queue.at, this.#queue.ticket, LockMode.exclusive);
    yield* this.#queue.leave();
  }

  assertHeld(): void {
    if (!this.#isHeld) throw new Error(`${this.kind} is not held by this agent`);
  }

  /** Whether another agent stands in line behind the holder. */
  *isContended(): Op<boolean> {
    this.assertHeld();
    return yield* this.#queue.isContended();
  }
}
