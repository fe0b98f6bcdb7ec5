import { describe, expect, test } from 'vitest';
import { Order, choose, explore, load32, retryWhen, store32, type Op } from '#port';
import { EventDigest } from '../../src/engine/events.ts';
import { Execution, type ExecutionResult } from '../../src/engine/execution.ts';
import { BruteForce } from '../../src/explore/brute-force.ts';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { Pct } from '../../src/explore/pct.ts';
import { PreemptionBounded } from '../../src/explore/preemption-bounded.ts';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import { Recorder } from '../../src/explore/recorder.ts';
import { Replay, ReplayError } from '../../src/explore/replay.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import type { Strategy } from '../../src/explore/strategy.ts';
import type { Subject } from '../../src/explore/subject.ts';
import { countsOf, exploreAll, installSubject, lockBoth, subjectOf } from './subjects.ts';

const X = 64;
const Y = 72;

const deadlocking = (): Subject => subjectOf([() => lockBoth(X, Y), () => lockBoth(Y, X)]);

const bounded =
  (max: number) =>
  (subject: Subject): PreemptionBounded =>
    new PreemptionBounded(subject, max);

describe('preemption-bounded', () => {
  test('without preemptions: one agent after the other', () => {
    const explored = exploreAll(installSubject(2, 1), bounded(0));
    expect(explored.stopped).toBe('exhausted');
    expect(countsOf(explored)).toMatchObject({ schedules: 2, traces: 2 });
    expect(explored.explorer.preemptions).toBe(0);
  });

  test('with as many as there can be: everything', () => {
    const explored = exploreAll(installSubject(2, 1), bounded(20));
    expect(explored.stopped).toBe('exhausted');
    expect(countsOf(explored)).toMatchObject({ traces: 48, finalStates: 4 });
  });

  test('with each more, more', () => {
    const traces = [0, 1, 2, 3].map(
      (max) => exploreAll(installSubject(2, 1), bounded(max)).explorer.traces.size,
    );
    expect(traces).toEqual(traces.toSorted((a, b) => a - b));
    expect(new Set(traces).size).toBe(4);
  });

  test('finds the deadlock of two locks with one', () => {
    expect(exploreAll(deadlocking(), bounded(0)).explorer.failures.size).toBe(0);
    const { failures } = exploreAll(deadlocking(), bounded(1)).explorer;
    expect(failures.get('deadlock')).toMatchObject({ preemptions: 1 });
  });

  test('says its bound', () => {
    expect(new PreemptionBounded(deadlocking(), 2).bound).toBe(
      'every interleaving of at most 2 preemptions',
    );
  });
});

describe('probabilistic concurrency testing', () => {
  test('finds a bug of depth 2 as often as it promises', () => {
    const schedules = 2000;
    const { explorer } = exploreAll(deadlocking(), (subject) => new Pct(subject, 1, 2), {
      schedules,
    });
    // Two agents of four steps each.
    const promised = schedules / (2 * 8);
    expect(explorer.failures.get('deadlock')?.times).toBeGreaterThan(promised);
  });

  test('preempts at most depth - 1 times', () => {
    for (const depth of [1, 2, 3]) {
      const { explorer } = exploreAll(
        installSubject(3, 2),
        (subject) => new Pct(subject, 5, depth),
        {
          schedules: 200,
        },
      );
      expect(explorer.preemptions).toBeLessThanOrEqual(200 * (depth - 1));
      expect(explorer.traces.size).toBeGreaterThan(1);
    }
  });

  test('says its bound, with the steps it has met', () => {
    const subject = subjectOf([() => store32(X, 1, Order.once), () => store32(X, 2, Order.once)]);
    const pct = new Pct(subject, 1, 3);
    exploreAll(subject, () => pct, { schedules: 3 });
    expect(pct.bound).toBe(
      'a bug of depth 3 in each schedule with a probability of at least 1 / (2 2^2)',
    );
    expect(new Pct(subject, 1, 1).bound).toBe(
      'a bug of depth 1 in each schedule with a probability of at least 1 / (2)',
    );
  });
});

/** Traces of random executions, in order. */
function walked(seed: number, schedules: number): number[] {
  const limits = { schedules };
  return [
    ...exploreAll(installSubject(3, 1), () => new RandomWalk(seed), limits).explorer.traces.keys(),
  ];
}

describe('random', () => {
  test('walks over seeds: each begins where the one before has its second', () => {
    const [first, second] = [...walked(7, 1), ...walked(8, 1)];
    expect(first).not.toBe(second);
    expect(walked(7, 2)).toEqual([first, second]);
  });
});

function* spin(): Op<void> {
  for (;;) yield* load32(X, Order.once);
}

function* fail(): Op<void> {
  yield* store32(X, 1, Order.once);
  throw new Error('as intended');
}

function* pick(): Op<void> {
  yield* store32(X, yield* choose(3), Order.once);
}

/** One execution with everything that can be said about it. */
function play(
  subject: Subject,
  strategy: Strategy,
  stepsMax: number,
): {
  readonly result: ExecutionResult;
  readonly digest: string;
  readonly recorder: Recorder;
} {
  strategy.begin(null);
  const recorder = new Recorder(strategy, subject.words);
  const digest = new EventDigest();
  const agents = subject.begin();
  const run = new Execution({ agents, scheduler: recorder, stepsMax, sinks: [digest] });
  return { result: explore(run), digest: digest.hex(), recorder };
}

describe('a replay', () => {
  const programs: Readonly<Record<string, () => Subject>> = {
    completed: () => installSubject(3, 2),
    deadlock: deadlocking,
    stepsExceeded: () => subjectOf([spin, spin]),
    threw: () => subjectOf([pick, fail, pick]),
    'deadlock of a retry': () => subjectOf([() => retryWhen(X, 0), pick]),
  };
  const strategies: Readonly<Record<string, (subject: Subject) => Strategy>> = {
    random: () => new RandomWalk(3),
    pct: (subject) => new Pct(subject, 3, 3),
    dpor: (subject) => new Dpor(subject, WHOLE),
    'brute force': (subject) => new BruteForce(subject),
    bounded: (subject) => new PreemptionBounded(subject, 2),
  };
  const cases = Object.keys(programs).flatMap((program) =>
    Object.keys(strategies).map((strategy) => [program, strategy] as const),
  );

  test.each(cases)('of what ends in %s under %s is the same', (program, strategy) => {
    const subject = (): Subject => (programs[program] as () => Subject)();
    const strategyOf = strategies[strategy] as (of: Subject) => Strategy;
    const first = subject();
    const played = play(first, strategyOf(first), 50);
    const { agents, choices } = played.recorder;
    const again = play(subject(), new Replay({ agents, choices }), agents.length);
    expect(again.digest).toBe(played.digest);
    expect(again.result.outcome).toBe(played.result.outcome);
    expect(again.recorder.agents).toEqual(agents);
  });

  test('of too few steps is given up, or goes on', () => {
    const answers = { agents: [0, 1], choices: [] };
    const short = play(installSubject(2, 1), new Replay(answers), 50);
    expect(short.result).toMatchObject({ outcome: 'abandoned', steps: 2 });
    const longer = play(installSubject(2, 1), new Replay(answers, new RoundRobin()), 50);
    expect(longer.result.outcome).toBe('completed');
    expect(longer.recorder.agents.slice(0, 2)).toEqual([0, 1]);
  });

  test.each([
    [{ agents: [0, 3], choices: [0] }, 'step 2: agent 3 cannot run'],
    [{ agents: [0, 0, 0, 1], choices: [] }, 'step 1: the schedule has no choice below 3'],
    [{ agents: [0, 0, 0], choices: [3] }, 'step 1: the schedule has no choice below 3'],
  ])('of another program says so: %j', (answers, message) => {
    const { result } = play(subjectOf([pick, pick]), new Replay(answers), 50);
    const error = result.outcome === 'threw' ? result.error : null;
    expect(error).toBeInstanceOf(ReplayError);
    expect(error).toMatchObject({ message });
  });

  test('is made once', () => {
    const replay = new Replay({ agents: [0, 0, 1, 1], choices: [0, 0] });
    expect(exploreAll(subjectOf([pick, pick]), () => replay)).toMatchObject({
      stopped: 'exhausted',
      explorer: { schedules: 1, abandoned: 0 },
    });
  });
});

const walk = (): RandomWalk => new RandomWalk(1);

test('a verdict counts once in an execution', () => {
  const subject = subjectOf([fail]);
  const twice: Subject = {
    ...subject,
    judge: (result) => [...subject.judge(result), ...subject.judge(result)],
  };
  const { failures } = exploreAll(twice, () => new RandomWalk(1), { schedules: 3 }).explorer;
  expect([...failures.values()]).toMatchObject([{ times: 3 }]);
});

describe('limits', () => {
  test.each([1, 2, 7])('of %i schedules', (schedules) => {
    const { explorer, stopped } = exploreAll(installSubject(2, 1), walk, { schedules });
    expect(stopped).toBe('schedules');
    expect(explorer.schedules).toBe(schedules);
  });

  test.each([1, 2, 100])('of %i steps, which is no verdict', (steps) => {
    const { explorer, stopped } = exploreAll(installSubject(2, 1), walk, { steps });
    expect(stopped).toBe('steps');
    expect(explorer.steps).toBe(steps);
    expect(explorer.failures.size).toBe(0);
  });

  test('of steps of one execution, which is one', () => {
    const { explorer } = exploreAll(installSubject(2, 1), walk, { schedules: 3, stepsOfOne: 1 });
    // What comes to an end once the agents take turns violates nothing, but is not what the strategy decided.
    expect(explorer.endless).toBe(3);
    expect(explorer.failures.size).toBe(0);
    expect(explorer.steps).toBeGreaterThan(3);
  });
});
