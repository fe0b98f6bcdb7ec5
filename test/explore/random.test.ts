import { describe, expect, test } from 'vitest';
import { RandomScheduler } from '../../src/explore/random.ts';
import { picks, viewOf } from './views.ts';

/** Two-sided bounds of a count of `draws` at probability `p`, six standard deviations wide; the seeds are fixed. */
function near(count: number, draws: number, p: number): boolean {
  return Math.abs(count - draws * p) < 6 * Math.sqrt(draws * p * (1 - p));
}

describe('a seed', () => {
  test('is a schedule: this one', () => {
    expect(picks(new RandomScheduler(1), [0, 1, 2], 16)).toEqual([
      1, 2, 2, 0, 2, 2, 0, 0, 2, 0, 2, 0, 1, 0, 1, 1,
    ]);
  });

  test('gives the same picks and choices again', () => {
    const one = new RandomScheduler(77);
    const other = new RandomScheduler(77);
    expect(picks(one, [0, 1, 2, 3], 50)).toEqual(picks(other, [0, 1, 2, 3], 50));
    expect(one.choose(1000)).toBe(other.choose(1000));
  });

  test('counts modulo 2^32', () => {
    const runnable = [0, 1, 2, 3];
    const expected = picks(new RandomScheduler(5), runnable, 20);
    expect(picks(new RandomScheduler(5 + 2 ** 32), runnable, 20)).toEqual(expected);
    expect(picks(new RandomScheduler(6), runnable, 20)).not.toEqual(expected);
  });

  test.each([
    [2, 6],
    [3, 4],
    [4, 3],
  ])('in a row of 1000 gives every beginning: %i agents, %i steps', (agents, steps) => {
    const runnable = Array.from({ length: agents }, (_, agent) => agent);
    const beginnings = Map.groupBy(Array(1000).keys(), (seed) =>
      picks(new RandomScheduler(seed), runnable, steps).join(''),
    );
    expect(beginnings.size).toBe(agents ** steps);
    for (const seeds of beginnings.values()) {
      expect(near(seeds.length, 1000, 1 / agents ** steps)).toBe(true);
    }
  });
});

describe('a pick', () => {
  test('is one of those that can run, each as likely', () => {
    const runnable = [1, 4, 6];
    const picked = picks(new RandomScheduler(3), runnable, 3000);
    const counts = runnable.map((agent) => picked.filter((one) => one === agent).length);
    expect(counts.reduce((sum, count) => sum + count)).toBe(3000);
    for (const count of counts) expect(near(count, 3000, 1 / 3)).toBe(true);
  });

  test('of the only agent costs no randomness', () => {
    const one = new RandomScheduler(9);
    const other = new RandomScheduler(9);
    expect(one.next(viewOf([5]))).toBe(5);
    expect(picks(one, [0, 1, 2], 30)).toEqual(picks(other, [0, 1, 2], 30));
  });
});

test('a choice is below n, each as likely', () => {
  const scheduler = new RandomScheduler(4);
  const chosen = Array.from({ length: 5000 }, () => scheduler.choose(5));
  for (const value of [0, 1, 2, 3, 4]) {
    expect(near(chosen.filter((one) => one === value).length, 5000, 1 / 5)).toBe(true);
  }
});
