import { BUCKETS } from '../../src/engine/histogram.ts';
import type { LockStatistics } from '../../src/locking/lock-account.ts';
import { LOCK_STATISTICS, statisticsOf } from '../fixtures/threads-locking/layout.ts';

/** What a lock has counted for one agent; histograms as the number of their samples. */
export interface Counted {
  readonly acquisitions: number;
  readonly releases: number;
  readonly contentions: number;
  readonly waitTotalNs: number;
  readonly holdTotalNs: number;
  readonly waits: number;
  readonly holds: number;
}

/** Reads one lock's row of the statistics block of an agent. */
export function countedFor(
  buffer: ArrayBufferLike,
  agent: number,
  row: LockStatistics = LOCK_STATISTICS,
): Counted {
  const block = statisticsOf(agent);
  const float = (offset: number): number =>
    new Float64Array(buffer, block + offset, 1)[0] as number;
  const word = (offset: number): number => new Int32Array(buffer, block + offset, 1)[0] as number;
  const samples = (offset: number): number =>
    new Int32Array(buffer, block + offset, BUCKETS).reduce((sum, bucket) => sum + bucket, 0);
  return {
    acquisitions: word(row.acquisitions),
    releases: word(row.releases),
    contentions: word(row.contentions),
    waitTotalNs: float(row.waitTotalNs),
    holdTotalNs: float(row.holdTotalNs),
    waits: samples(row.waitNs),
    holds: samples(row.holdNs),
  };
}
