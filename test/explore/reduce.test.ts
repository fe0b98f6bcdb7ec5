import { describe, expect, test } from 'vitest';
import { Order, add32, load32, store32, type Op } from '#port';
import type { Failure } from '../../src/explore/failure.ts';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import { reduce } from '../../src/explore/reduce.ts';
import type { Divisible, Remainder } from '../../src/explore/remainder.ts';
import { Replay } from '../../src/explore/replay.ts';
import type { Subject } from '../../src/explore/subject.ts';
import { exploreAll, subjectOf } from './subjects.ts';

const X = 64;
const Y = 72;
const LIMITS = { schedules: 500, steps: 1e6, searches: 20 };

/** `look` fails if a `change` of another agent comes between its two loads; `walk` has nothing to do with it. */
type Operation = 'look' | 'change' | 'walk';

function* perform(operations: readonly Operation[]): Op<void> {
  for (const operation of operations) {
    if (operation === 'look') {
      const seen = yield* load32(X, Order.once);
      if ((yield* load32(X, Order.once)) !== seen) throw new Error('torn');
    } else if (operation === 'change') {
      yield* add32(X, 1, Order.once);
    } else {
      yield* load32(Y, Order.once);
      yield* store32(Y, 1, Order.once);
    }
  }
}

/** One phase in which each agent performs a list. */
function divisible(programs: readonly (readonly Operation[])[]): Divisible<Subject> {
  return {
    programs: programs.map((operations, agent) => ({ phase: 0, agent, operations })),
    subjectOf: (rests) => subjectOf(programs.map((all, agent) => startOf(all, agent, rests))),
  };
}

function startOf(
  all: readonly Operation[],
  agent: number,
  rests: readonly Remainder[],
): () => Op<void> {
  const rest = rests.find((each) => each.agent === agent);
  const left = rest === undefined ? all : rest.kept.map((index) => all[index] as Operation);
  return () => perform(left);
}

function found(whole: Divisible<Subject>, seed: number): Failure {
  const subject = whole.subjectOf([]);
  const { explorer } = exploreAll(subject, () => new RandomWalk(seed), { schedules: 200 });
  const [failure] = explorer.failures.values();
  if (failure === undefined) throw new Error('nothing failed');
  return failure;
}

const walks = (count: number): Operation[] => Array.from({ length: count }, () => 'walk');

describe('a program that fails', () => {
  test.each([
    [1, 20],
    [2, 20],
    [3, 0],
    [4, 0],
  ])('comes down to the two operations that it takes (seed %d, %d searches)', (seed, searches) => {
    const whole = divisible([
      walks(6),
      [...walks(3), 'look', ...walks(2)],
      walks(4),
      [...walks(5), 'change', 'walk'],
    ]);
    const failure = found(whole, seed);
    const reduced = reduce(whole, failure, { ...LIMITS, searches });
    expect(reduced.rests).toEqual([
      { phase: 0, agent: 0, kept: [] },
      { phase: 0, agent: 1, kept: [3] },
      { phase: 0, agent: 2, kept: [] },
      { phase: 0, agent: 3, kept: [5] },
    ]);
    expect(reduced.failure).toMatchObject({ verdict: failure.verdict, times: failure.times });
    const subject = whole.subjectOf(reduced.rests);
    const { explorer } = exploreAll(subject, () => new Replay(reduced.failure.schedule));
    expect([...explorer.failures.keys()]).toEqual([failure.verdict]);
  });

  test('keeps all that it needs', () => {
    const whole = divisible([['look'], ['change']]);
    expect(reduce(whole, found(whole, 1), LIMITS).rests).toEqual([]);
  });

  test.each([{ schedules: 0 }, { steps: 0 }])('is left as it is without a budget: %j', (budget) => {
    const whole = divisible([['walk', 'look'], ['change']]);
    const failure = found(whole, 1);
    expect(reduce(whole, failure, { ...LIMITS, ...budget })).toEqual({ failure, rests: [] });
  });

  test.each([{ schedules: 1 }, { steps: 1 }])('spends no more than its budget: %j', (budget) => {
    const all = divisible([['walk', 'look', ...walks(9)], ['change'], ['walk']]);
    // One agent always takes a step.
    const whole = { ...all, programs: all.programs.slice(0, 2) };
    const failure = found(whole, 1);
    let begun = 0;
    const counting = {
      ...whole,
      subjectOf: (rests: readonly Remainder[]): Subject => {
        const subject = whole.subjectOf(rests);
        return {
          ...subject,
          begin: () => {
            begun++;
            return subject.begin();
          },
        };
      },
    };
    reduce(counting, failure, { ...LIMITS, ...budget });
    expect(begun).toBe(1);
  });

  test('of a step limit is left as it is: what ends earlier says nothing about it', () => {
    const whole = divisible([['look'], ['change']]);
    const failure = { ...found(whole, 1), verdict: 'step-limit' };
    expect(reduce(whole, failure, LIMITS)).toEqual({ failure, rests: [] });
  });
});
