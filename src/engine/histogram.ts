/**
 * Log-linear histograms in shared memory: 16 sub-buckets an octave, so a value is known to about 6 %.
 * A histogram is {@link HISTOGRAM_BYTES} bytes of an agent's statistics block and is written by that agent alone.
 */
import { tally } from '#port';

const SUB_BITS = 4;
const SUBS = 1 << SUB_BITS;
/** Values up to 2^40 ns, 18 minutes; larger ones count in the last bucket. */
const OCTAVES = 40 - SUB_BITS;
export const BUCKETS: number = SUBS * (OCTAVES + 1);
export const HISTOGRAM_BYTES: number = BUCKETS * 4;

/** Records a value (nanoseconds, at least 0) in the histogram at `offset` of this agent's statistics block. */
export function sampleInto(offset: number, value: number): void {
  tally(offset + bucketOf(value) * 4);
}

/** The bucket of a value: linear below 16, then 16 a power of two. */
export function bucketOf(value: number): number {
  const v = Math.max(0, Math.floor(value));
  if (v < SUBS) return v;
  const octave = Math.floor(Math.log2(v)) - SUB_BITS;
  if (octave >= OCTAVES) return BUCKETS - 1;
  return SUBS * (octave + 1) + (Math.floor(v / 2 ** octave) - SUBS);
}

/** The largest value of a bucket. */
export function bucketTop(bucket: number): number {
  if (bucket < SUBS) return bucket;
  const octave = Math.floor(bucket / SUBS) - 1;
  return ((bucket % SUBS) + SUBS + 1) * 2 ** octave - 1;
}

/** Percentiles of merged buckets. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Percentiles of bucket counts as upper bounds, or null where nothing was counted. */
export function percentiles(buckets: ArrayLike<number>): Percentiles | null {
  let total = 0;
  for (let i = 0; i < buckets.length; i++) total += buckets[i] as number;
  if (total === 0) return null;
  const at = (share: number): number => quantile(buckets, Math.max(1, Math.ceil(total * share)));
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** The smallest value that the lowest of the buckets in use may stand for; there has to be one. */
export function least(buckets: ArrayLike<number>): number {
  let bucket = 0;
  while (buckets[bucket] === 0) bucket++;
  return bucket === 0 ? 0 : bucketTop(bucket - 1) + 1;
}

function quantile(buckets: ArrayLike<number>, rank: number): number {
  let seen = 0;
  for (let i = 0; i < buckets.length; i++) {
    seen += buckets[i] as number;
    if (seen >= rank) return bucketTop(i);
  }
  return bucketTop(buckets.length - 1);
}
