import { expect, test } from 'vitest';
import { Order, add32, load32, signalAdd32, store32, wait, type Op, type Word } from '#port';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { minimise } from '../../src/explore/minimise.ts';
import { PreemptionBounded } from '../../src/explore/preemption-bounded.ts';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import { Replay } from '../../src/explore/replay.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { formatSchedule, parseSchedule } from '../../src/explore/schedule.ts';
import type { Failure } from '../../src/explore/failure.ts';
import type { Strategy } from '../../src/explore/strategy.ts';
import type { Subject } from '../../src/explore/subject.ts';
import { exploreAll, lockBoth, subjectOf } from './subjects.ts';

const X = 64;
const Y = 72;
const STEPS_MAX = 100;

/** What comes of the failure's schedule once it was text. */
function replayed(subject: Subject, failure: Failure): Failure | undefined {
  const text = formatSchedule({ scenario: '00000000', seed: 0, rests: [], ...failure.schedule });
  const replay = new Replay(parseSchedule(text));
  const { explorer } = exploreAll(subject, () => replay, { stepsOfOne: STEPS_MAX });
  return explorer.failures.get(failure.verdict);
}

test('a deadlock names who waits for what, and who wrote it last', () => {
  const subject: Subject = {
    ...subjectOf([() => lockBoth(X, Y), () => lockBoth(Y, X)]),
    nameOf: (at) => (at === X ? 'the first lock' : null),
  };
  const { failures } = exploreAll(subject, (all) => new PreemptionBounded(all, 1)).explorer;
  const failure = failures.get('deadlock') as Failure;
  expect(failure.message).toContain(
    'A waits for word 72, which B wrote last (step 2); B waits for the first lock, which A wrote last (step 1)',
  );
  expect(replayed(subject, failure)).toEqual({ ...failure, times: 1 });
});

/** Looks at the condition, and only then at the word that it would be woken by. */
function* awaitLate(): Op<void> {
  if ((yield* load32(Y, Order.acquire)) === 1) return;
  yield* wait(X, yield* load32(X, Order.acquire));
}

function* announce(): Op<void> {
  yield* store32(Y, 1, Order.once);
  yield* signalAdd32(X, 1, Order.release);
}

test('a lost wake-up is found, made simpler and replayed', () => {
  for (const strategyOf of [(all: Subject) => new Dpor(all, WHOLE), () => new RandomWalk(1)]) {
    const subject = subjectOf([awaitLate, announce]);
    const { failures } = exploreAll(subject, strategyOf, { schedules: 100 }).explorer;
    const found = failures.get('deadlock') as Failure;
    const simple = minimise(subject, found, { schedules: 100, steps: 1e6, stepsOfOne: STEPS_MAX });
    expect(simple.message).toContain('A waits for word 64, which B wrote last (step 3)');
    expect(simple).toMatchObject({ preemptions: 1, schedule: { agents: [0, 1, 1, 0, 0] } });
    expect(replayed(subject, simple)).toMatchObject({ message: simple.message });
  }
});

/** Raises its flag, and lowers it again for as long as the other's is up. */
function* giveWay(own: Word, other: Word): Op<void> {
  for (;;) {
    yield* store32(own, 1, Order.once);
    if ((yield* load32(other, Order.once)) === 0) break;
    yield* store32(own, 0, Order.once);
  }
  yield* store32(own, 0, Order.once);
}

function* count(): Op<void> {
  for (;;) yield* add32(X, 1, Order.once);
}

const inTurn = (): Replay => new Replay({ agents: [], choices: [] }, new RoundRobin());
const givingWay = (): Subject => subjectOf([() => giveWay(X, Y), () => giveWay(Y, X)]);

test.each([
  ['in turns', inTurn],
  // Two that give way to each other do not for ever, unless by chance, before patience ends.
  ['at random', () => new RandomWalk(1)],
])('a livelock is found %s, made simpler and replayed', (_, strategyOf) => {
  const limits = { stepsOfOne: 4, schedules: 20 };
  const subject = givingWay();
  const { failures } = exploreAll(subject, strategyOf, limits).explorer;
  const failure = failures.get('livelock') as Failure;
  expect([...failures.keys()]).toEqual(['livelock']);
  expect(failure.message).toMatch(
    /^again and again 6 steps: (?:[AB] (?:store32|load32) word (?:64|72)(?:, )?){6}$/,
  );
  const simple = minimise(subject, failure, { schedules: 50, steps: 1e6, stepsOfOne: STEPS_MAX });
  expect(simple).toMatchObject({ verdict: 'livelock' });
  expect(simple.schedule.agents).toHaveLength(24);
  expect(replayed(subject, simple)).toEqual({ ...simple, times: 1 });
});

test('what comes before the loop is left out where it can be', () => {
  const rounds = ['010101', '100110', '101010', '011001'].join('');
  const schedule = { agents: Array.from(rounds, Number), choices: [] };
  const subject = givingWay();
  const { failures } = exploreAll(subject, () => new Replay(schedule, new RoundRobin()), {
    stepsOfOne: STEPS_MAX,
  }).explorer;
  const failure = failures.get('livelock') as Failure;
  expect(failure.schedule.agents.length).toBeGreaterThan(24);
  const limits = { schedules: 50, steps: 1e6, stepsOfOne: STEPS_MAX };
  expect(minimise(subject, failure, limits).schedule.agents).toHaveLength(24);
});

test('a strategy is told what it decided, in the state that this led to', () => {
  const subject = subjectOf([count]);
  const told: number[] = [];
  const walk = new RandomWalk(1);
  const strategy: Strategy = {
    bound: '',
    next: (view) => walk.next(view),
    choose: (n) => walk.choose(n),
    begin: (last) => {
      if (last !== null)
        told.push(last.result.steps, last.view.steps, subject.words[X / 4] as number);
      return last === null;
    },
  };
  exploreAll(subject, () => strategy, { stepsOfOne: 7 });
  expect(told).toEqual([7, 7, 7]);
});

/** Looks at a word until it changes, for at most so many times. */
function* look(times: number): Op<void> {
  for (let i = 0; i < times; i++) if ((yield* load32(X, Order.once)) !== 0) return;
}

function* change(): Op<void> {
  yield* store32(X, 1, Order.once);
}

test('what ends once everybody has a turn is none', () => {
  const subject = subjectOf([() => look(1000), change]);
  const { explorer } = exploreAll(subject, () => new RandomWalk(1), {
    stepsOfOne: 0,
    schedules: 1,
  });
  expect([...explorer.failures]).toEqual([]);
  expect(explorer).toMatchObject({ endless: 1, schedules: 1 });
  expect(explorer.finalStates.size).toBe(1);
});

test('what only counts up is none, unless the word is known to', () => {
  const plain = subjectOf([count]);
  const known: Subject = { ...plain, monotone: (at) => (at === X ? X : null) };
  const verdicts = [plain, known].map((subject) => {
    const limits = { stepsOfOne: 1, schedules: 1 };
    return [...exploreAll(subject, () => new RandomWalk(1), limits).explorer.failures.keys()];
  });
  expect(verdicts).toEqual([['step-limit'], ['livelock']]);
});

test('nor is what one does while another could go on', () => {
  const subject = subjectOf([() => look(9), change]);
  const replay = new Replay({ agents: [0, 0, 0, 0, 0, 0, 0, 0], choices: [] });
  const { explorer } = exploreAll(subject, () => replay);
  expect(explorer.abandoned).toBe(1);
  expect([...explorer.failures]).toEqual([]);
});

function* spin(): Op<void> {
  for (let i = 0; ; i++) yield* load32(i % 2 === 0 ? X : Y, Order.once);
}

test('the loop is the shortest, and the schedule no longer than what shows it', () => {
  const limits = { schedules: 1, stepsOfOne: STEPS_MAX };
  const subject = subjectOf([spin]);
  const { failures, steps } = exploreAll(subject, () => new RandomWalk(1), limits).explorer;
  const failure = failures.get('livelock') as Failure;
  // It is looked for early.
  expect(steps).toBeLessThan(2 * STEPS_MAX);
  expect(failure.message).toBe('again and again 2 steps: A load32 word 64, A load32 word 72');
  expect(failure.schedule.agents).toHaveLength(8);
});

test('exhaustive strategies go on after an execution that does not end', () => {
  const limits = { stepsOfOne: 12, schedules: 50 };
  const subject = givingWay();
  const { failures, endless, schedules } = exploreAll(
    subject,
    (all) => new Dpor(all, WHOLE),
    limits,
  ).explorer;
  expect([...failures.keys()]).toEqual(['livelock']);
  expect(endless).toBeGreaterThan(0);
  expect(schedules).toBeGreaterThan(endless);
});
