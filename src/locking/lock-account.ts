/** What one agent counts of one lock in one mode. No decision depends on it, and nothing of it is shared. */
import { count, now } from '#port';
import { sampleInto } from '../engine/histogram.ts';

/** Offsets into the agent's statistics block: float counters, then two histograms. */
export interface LockStatistics {
  readonly acquisitions: number;
  readonly contended: number;
  /** Total nanoseconds waited; every contended wait is timed. */
  readonly waitTotalNs: number;
  readonly waitNs: number;
  /** Holds of every {@link HOLD_SAMPLE}th acquisition. */
  readonly holdNs: number;
}

/** Readers and writers apart. */
export interface ReadWriteStatistics {
  readonly read: LockStatistics;
  readonly write: LockStatistics;
}

/** One hold in this many is timed; a power of two. */
export const HOLD_SAMPLE = 16;

/** No time is being taken. */
const IDLE = -1;

export class LockAccount {
  readonly #statistics: LockStatistics;
  #waitingSince = IDLE;
  #heldSince = IDLE;

  constructor(statistics: LockStatistics) {
    this.#statistics = statistics;
  }

  /** The agent is about to wait; only the first call of an acquisition counts. */
  waits(): void {
    if (this.#waitingSince === IDLE) this.#waitingSince = now();
  }

  /** The wait, if there was one, is over. `number`: of the acquisition, among all agents where the lock numbers them. */
  acquired(number: number): void {
    count(this.#statistics.acquisitions, 1);
    if (this.#waitingSince !== IDLE) this.#countWait();
    if ((number & (HOLD_SAMPLE - 1)) === 0) this.#heldSince = now();
  }

  released(): void {
    if (this.#heldSince === IDLE) return;
    sampleInto(this.#statistics.holdNs, now() - this.#heldSince);
    this.#heldSince = IDLE;
  }

  #countWait(): void {
    const waited = now() - this.#waitingSince;
    this.#waitingSince = IDLE;
    count(this.#statistics.contended, 1);
    count(this.#statistics.waitTotalNs, waited);
    sampleInto(this.#statistics.waitNs, waited);
  }
}
