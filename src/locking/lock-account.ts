/** What one agent counts of one lock in one mode. No decision depends on it, and nothing of it is shared. */
import { count, now, tally } from '#port';
import { HISTOGRAM_BYTES, sampleInto } from '../engine/histogram.ts';

/** Offsets into the agent's statistics block: 32-bit counters, float counters, histograms. */
export interface LockStatistics {
  readonly acquisitions: number;
  /** One less than the acquisitions while the lock is held: tells what an agent that died held. */
  readonly releases: number;
  /** Waits that began. One more than the samples of `waitNs` while the agent waits: tells what an agent that is stuck waits for. */
  readonly contentions: number;
  /** Float counters, nanoseconds: of all waits, and of the holds that were timed. */
  readonly waitTotalNs: number;
  readonly holdTotalNs: number;
  /** Every contended wait. */
  readonly waitNs: number;
  /** Holds of every {@link HOLD_SAMPLE}th acquisition of an agent, the first one included. */
  readonly holdNs: number;
}

/** Bytes of a lock's part of a statistics block. */
export const LOCK_STATISTICS_BYTES: number = 40 + 2 * HISTOGRAM_BYTES;

/** The part that begins at `first`, a multiple of 8. */
export function lockStatisticsAt(first: number): LockStatistics {
  const waitNs = first + 40;
  return {
    acquisitions: first,
    releases: first + 8,
    contentions: first + 16,
    waitTotalNs: first + 24,
    holdTotalNs: first + 32,
    waitNs,
    holdNs: waitNs + HISTOGRAM_BYTES,
  };
}

/** Readers and writers apart. */
export interface ReadWriteStatistics {
  readonly read: LockStatistics;
  readonly write: LockStatistics;
}

/**
 * One hold in this many is timed; a power of two. To read the clock twice takes as long as 15 atomic operations: with one hold in 16 it
 * was a third of what an uncontended lock cost.
 */
export const HOLD_SAMPLE = 128;

/** No wait is being timed. */
const IDLE = -1;

export class LockAccount {
  readonly #statistics: LockStatistics;
  #waitingSince = IDLE;
  #heldSince = 0;

  constructor(statistics: LockStatistics) {
    this.#statistics = statistics;
  }

  /** The agent is about to wait; only the first wait of an acquisition begins one. */
  waits(): void {
    if (this.#waitingSince !== IDLE) return;
    this.#waitingSince = now();
    tally(this.#statistics.contentions);
  }

  /** The wait, if there was one, is over. */
  waited(): void {
    if (this.#waitingSince === IDLE) return;
    const waited = now() - this.#waitingSince;
    this.#waitingSince = IDLE;
    count(this.#statistics.waitTotalNs, waited);
    sampleInto(this.#statistics.waitNs, waited);
  }

  acquired(): void {
    if (isTimed(tally(this.#statistics.acquisitions))) this.#heldSince = now();
  }

  /** The n-th release is of the n-th acquisition. */
  released(): void {
    if (isTimed(tally(this.#statistics.releases))) this.#countHold();
  }

  /** An acquisition that holds nothing. */
  passed(): void {
    tally(this.#statistics.acquisitions);
    tally(this.#statistics.releases);
  }

  #countHold(): void {
    const held = now() - this.#heldSince;
    count(this.#statistics.holdTotalNs, held);
    sampleInto(this.#statistics.holdNs, held);
  }
}

function isTimed(number: number): boolean {
  return (number & (HOLD_SAMPLE - 1)) === 0;
}
