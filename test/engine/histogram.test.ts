import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BUCKETS,
  HISTOGRAM_BYTES,
  bucketOf,
  bucketTop,
  least,
  percentiles,
  sampleInto,
} from '../../src/engine/histogram.ts';
import { BLOCK_BYTES, STATISTICS, sandbox } from '../support/executions.ts';

const LARGEST = 2 ** 40 - 1;

describe('a bucket', () => {
  test('holds the values up to its top, and the next bucket begins there', () => {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      expect(bucketOf(bucketTop(bucket))).toBe(bucket);
      expect(bucketOf(bucketTop(bucket) + 1)).toBe(Math.min(bucket + 1, BUCKETS - 1));
    }
    expect(bucketTop(BUCKETS - 1)).toBe(LARGEST);
  });

  test('tells a value to one part in 16', () => {
    const value = fc.oneof(fc.maxSafeNat(), fc.nat(), fc.nat(1000)).map((v) => v % (LARGEST + 1));
    fc.assert(
      fc.property(value, (v) => {
        const top = bucketTop(bucketOf(v));
        expect(top).toBeGreaterThanOrEqual(v);
        expect(top - v).toBeLessThanOrEqual(v / 16);
      }),
      { seed: 4, numRuns: 2000 },
    );
  });

  test('of a larger value is not a smaller one', () => {
    const value = fc.double({ min: 0, max: 2 ** 42, noNaN: true });
    fc.assert(
      fc.property(value, value, (a, b) => {
        expect(bucketOf(Math.max(a, b))).toBeGreaterThanOrEqual(bucketOf(Math.min(a, b)));
      }),
      { seed: 5, numRuns: 1000 },
    );
  });

  test.each([
    ['below zero', -3, 0],
    ['between two numbers', 7.9, 7],
    ['below 16', 15, 15],
    ['at 16', 16, 16],
    ['where two values share a bucket', 33, 32],
    ['beyond the last', 2 ** 50, BUCKETS - 1],
  ])('%s', (_where, value, bucket) => {
    expect(bucketOf(value)).toBe(bucket);
  });
});

test('a sample counts in the block of the agent', () => {
  const { words } = sandbox();
  const offset = 64;
  sampleInto(offset, 100);
  sampleInto(offset, 100);
  sampleInto(offset, 2 ** 60);
  const start = (STATISTICS + 7 * BLOCK_BYTES + offset) / 4;
  const found = Array.from(words.entries()).filter(([, count]) => count !== 0);
  expect(found).toEqual([
    [start + bucketOf(100), 2],
    [start + HISTOGRAM_BYTES / 4 - 1, 1],
  ]);
});

function bucketsOf(counts: Readonly<Record<number, number>>): Int32Array {
  const buckets = new Int32Array(BUCKETS);
  for (const [value, times] of Object.entries(counts)) buckets[bucketOf(Number(value))] = times;
  return buckets;
}

describe('percentiles', () => {
  test('are null of nothing', () => {
    expect(percentiles(bucketsOf({}))).toBeNull();
    expect(percentiles([])).toBeNull();
  });

  test('of one value are that value', () => {
    expect(percentiles(bucketsOf({ 9: 1 }))).toEqual({ p50: 9, p90: 9, p99: 9, max: 9 });
    expect(percentiles(bucketsOf({ 0: 3 }))).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 });
  });

  test('cover exactly their share', () => {
    const exact = bucketsOf({ 1: 50, 2: 40, 3: 9, 4: 1 });
    expect(percentiles(exact)).toEqual({ p50: 1, p90: 2, p99: 3, max: 4 });
    const more = bucketsOf({ 1: 50, 2: 40, 3: 9, 4: 2 });
    expect(percentiles(more)).toEqual({ p50: 2, p90: 3, p99: 4, max: 4 });
  });

  test('are upper bounds of large values', () => {
    const top = bucketTop(bucketOf(1_000_000));
    const spread = bucketsOf({ 10: 9, 1_000_000: 1 });
    expect(percentiles(spread)).toEqual({ p50: 10, p90: 10, p99: top, max: top });
    expect(top).toBeGreaterThanOrEqual(1_000_000);
  });
});

test('the least value is a lower bound of the lowest bucket', () => {
  expect(least(bucketsOf({ 0: 1, 9: 1 }))).toBe(0);
  expect(least(bucketsOf({ 9: 1, 40: 1 }))).toBe(9);
  expect(bucketOf(least(bucketsOf({ 1_000_000: 1 })))).toBe(bucketOf(1_000_000));
  expect(least(bucketsOf({ 1_000_000: 1 }))).toBeLessThanOrEqual(1_000_000);
});
