import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Order, choose, load32, store32, type Op } from '#port';
import type { Failure } from '../../src/explore/failure.ts';
import { Guided } from '../../src/explore/guided.ts';
import { minimise } from '../../src/explore/minimise.ts';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import { Replay } from '../../src/explore/replay.ts';
import type { Subject } from '../../src/explore/subject.ts';
import { exploreAll, installSubject, lockBoth, subjectOf } from './subjects.ts';

const X = 64;
const Y = 72;
const LIMITS = { schedules: 500, steps: 1e6, stepsOfOne: 1000 };

/** The first failure that random schedules come to. */
function found(subject: Subject, verdict: string, seed: number): Failure {
  for (let schedules = 1; schedules < 1000; schedules++) {
    const { explorer } = exploreAll(subject, () => new RandomWalk(seed + schedules), {
      schedules: 1,
    });
    const failure = explorer.failures.get(verdict);
    if (failure !== undefined) return failure;
  }
  throw new Error(`no ${verdict}`);
}

/** Has nothing to do with what goes wrong. */
function* bystander(): Op<void> {
  for (let i = 0; i < 5; i++) yield* load32(X, Order.once);
}

const deadlocking = (): Subject =>
  subjectOf([() => lockBoth(X, Y), bystander, () => lockBoth(Y, X), bystander]);

/** Fails if another agent's store comes between its own two loads, or if a choice is the last of three. */
function* look(): Op<void> {
  const seen = yield* load32(X, Order.once);
  if ((yield* load32(X, Order.once)) !== seen) throw new Error('torn');
}

function* change(): Op<void> {
  yield* load32(Y, Order.once);
  yield* store32(X, 1, Order.once);
}

function* gamble(): Op<void> {
  yield* choose(3);
  if ((yield* choose(3)) === 2) throw new Error('lost');
}

describe('a failing schedule', () => {
  test('of two locks comes down to one preemption', () => {
    for (let seed = 0; seed < 20; seed++) {
      const subject = deadlocking();
      const simple = minimise(subject, found(subject, 'deadlock', seed * 1000), LIMITS);
      expect(simple).toMatchObject({ verdict: 'deadlock', preemptions: 1 });
    }
  });

  test('keeps its verdict, gets no worse and replays', () => {
    fc.assert(
      fc.property(fc.nat(100_000), (seed) => {
        const subject = subjectOf([look, change, bystander, change]);
        const failure = found(subject, 'error: A: torn', seed);
        const simple = minimise(subject, failure, LIMITS);
        expect(simple.preemptions).toBe(1);
        expect(simple.schedule.agents.length).toBeLessThanOrEqual(failure.schedule.agents.length);
        expect(simple.times).toBe(failure.times);
        const { explorer } = exploreAll(subject, () => new Replay(simple.schedule));
        expect([...explorer.failures.keys()]).toEqual(['error: A: torn']);
      }),
      { numRuns: 30 },
    );
  });

  test('keeps the choices that it needs', () => {
    const subject = subjectOf([bystander, gamble]);
    const simple = minimise(subject, found(subject, 'error: B: lost', 1), LIMITS);
    expect(simple.schedule.choices.at(-1)).toBe(2);
    expect(simple.preemptions).toBe(0);
  });

  test('is left as it is without a budget', () => {
    const subject = deadlocking();
    const failure = found(subject, 'deadlock', 5);
    expect(minimise(subject, failure, { ...LIMITS, schedules: 0 })).toBe(failure);
  });

  test.each([
    [{ schedules: 3 }, 3],
    [{ schedules: 1 }, 1],
    [{ steps: 1 }, 1],
  ])('gets no more executions than its budget: %j', (budget, executions) => {
    const subject = deadlocking();
    const failure = found(subject, 'deadlock', 5);
    let begun = 0;
    const counting: Subject = {
      ...subject,
      begin: () => {
        begun++;
        return subject.begin();
      },
    };
    minimise(counting, failure, { ...LIMITS, ...budget });
    expect(begun).toBe(executions);
  });
});

describe('advice', () => {
  test('is followed as far as it goes; then nobody is preempted', () => {
    const subject = installSubject(2, 1);
    const runs = [
      { agent: 1, steps: 2 },
      { agent: 5, steps: 9 },
      { agent: 0, steps: 100 },
    ];
    const { explorer } = exploreAll(subject, () => new Guided(subject, runs, []));
    expect(explorer.preemptions).toBe(1);
    expect(explorer.abandoned).toBe(0);
    expect(explorer.finalStates.size).toBe(1);
  });
});
