import { BUCKETS } from '../../src/engine/histogram.ts';
import { LOCK_STATISTICS, statisticsOf } from '../fixtures/threads-locking/layout.ts';

/** What a spin lock has counted for one agent; histograms as the number of their samples. */
export interface Counted {
  readonly acquisitions: number;
  readonly contended: number;
  readonly waitTotalNs: number;
  readonly waits: number;
  readonly holds: number;
}

/** Reads the statistics block of an agent. */
export function countedFor(buffer: ArrayBufferLike, agent: number): Counted {
  const block = statisticsOf(agent);
  const float = (offset: number): number =>
    new Float64Array(buffer, block + offset, 1)[0] as number;
  const samples = (offset: number): number =>
    new Int32Array(buffer, block + offset, BUCKETS).reduce((sum, bucket) => sum + bucket, 0);
  return {
    acquisitions: float(LOCK_STATISTICS.acquisitions),
    contended: float(LOCK_STATISTICS.contended),
    waitTotalNs: float(LOCK_STATISTICS.waitTotalNs),
    waits: samples(LOCK_STATISTICS.waitNs),
    holds: samples(LOCK_STATISTICS.holdNs),
  };
}
