import { describe, expect, test } from 'vitest';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { picks, viewOf } from './views.ts';

describe('a turn', () => {
  test('is one step unless said otherwise', () => {
    expect(picks(new RoundRobin(), [0, 1, 2], 7)).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });

  test('is as long as its quantum', () => {
    expect(picks(new RoundRobin(3), [0, 2], 8)).toEqual([0, 0, 0, 2, 2, 2, 0, 0]);
  });

  test('ends early when its agent cannot run', () => {
    const scheduler = new RoundRobin(3);
    expect(scheduler.next(viewOf([0, 1, 2]))).toBe(0);
    expect(scheduler.next(viewOf([1, 2], 0))).toBe(1);
    expect(picks(scheduler, [1, 2], 1)).toEqual([1]);
  });

  test('goes to the next higher agent that can run, then to the lowest', () => {
    const scheduler = new RoundRobin();
    expect(scheduler.next(viewOf([0, 1, 3], 1))).toBe(3);
    expect(scheduler.next(viewOf([1, 3], 3))).toBe(1);
    expect(scheduler.next(viewOf([2], 2))).toBe(2);
  });

  test('after an early end is whole again', () => {
    const scheduler = new RoundRobin(2);
    expect(scheduler.next(viewOf([0, 1]))).toBe(0);
    expect(scheduler.next(viewOf([1, 2], 0))).toBe(1);
    expect(scheduler.next(viewOf([1, 2], 1))).toBe(1);
    expect(scheduler.next(viewOf([1, 2], 1))).toBe(2);
  });
});

test('choices count up', () => {
  const scheduler = new RoundRobin();
  expect([3, 3, 3, 3, 2].map((n) => scheduler.choose(n))).toEqual([0, 1, 2, 0, 0]);
});
