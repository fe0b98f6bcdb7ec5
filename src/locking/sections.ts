/** What RCU and SRCU share: an agent's read sections, which nest and of which others see the outermost only, and what is counted. */
import { event, type Word } from '#port';
import { EventKind, LockMode } from '../engine/events.ts';
import { LockAccount, type ReadWriteStatistics } from './lock-account.ts';

/** Of a domain of read sections. */
export interface SectionOptions {
  /** Zeroed memory of `bytes(agents)` bytes of the domain, aligned to a line. */
  readonly at: Word;
  readonly agents: number;
  /** 0 to `agents - 1`. */
  readonly agent: number;
  /** A read is an outermost section, a write one `synchronize`, which has no hold. */
  readonly statistics: ReadWriteStatistics;
}

/** One object per agent. What makes a section visible to others is the domain's own. */
export abstract class Sections {
  /** What it is, in an error. */
  abstract readonly kind: string;
  readonly #at: Word;
  readonly #reads: LockAccount;
  /** Of grace periods: what `synchronize` waits with. */
  protected readonly synchronizes: LockAccount;
  #depth = 0;

  constructor({ at, statistics }: SectionOptions) {
    this.#at = at;
    this.#reads = new LockAccount(statistics.read);
    this.synchronizes = new LockAccount(statistics.write);
  }

  /** Begins a section; whether it is the outermost: that has to be made visible, and then `opened`. */
  protected enter(): boolean {
    this.#depth++;
    return this.#depth === 1;
  }

  protected opened(): void {
    this.#reads.acquired();
    event(EventKind.lockAcquired, this.#at, 0, LockMode.shared);
  }

  /** Ends a section; whether it was the outermost: others are to see it no more. */
  protected leave(): boolean {
    this.assertHeld();
    this.#depth--;
    if (this.#depth > 0) return false;
    this.#reads.released();
    event(EventKind.lockReleased, this.#at, 0, LockMode.shared);
    return true;
  }

  /** Inside a read section. */
  assertHeld(): void {
    if (this.#depth === 0) throw new Error(`${this.kind} read section is not open`);
  }

  /** In a quiescent state: before an agent sleeps or enters the guest. */
  assertQuiescent(): void {
    if (this.#depth > 0) throw new Error(`${this.kind} read section is open`);
  }

  /** A grace period is over. */
  protected synchronized(): void {
    this.synchronizes.waited();
    this.synchronizes.passed();
    event(EventKind.lockAcquired, this.#at, 0, LockMode.exclusive);
    event(EventKind.lockReleased, this.#at, 0, LockMode.exclusive);
  }
}
