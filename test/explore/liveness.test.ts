import { expect, test } from 'vitest';
import { Order, load32, signalAdd32, store32, wait, type Op, type Word } from '#port';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { minimise } from '../../src/explore/minimise.ts';
import { PreemptionBounded } from '../../src/explore/preemption-bounded.ts';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import { Replay } from '../../src/explore/replay.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { formatSchedule, parseSchedule } from '../../src/explore/schedule.ts';
import type { Failure } from '../../src/explore/failure.ts';
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

const inTurn = (): Replay => new Replay({ agents: [], choices: [] }, new RoundRobin());

test('a livelock is found, with its loop, and replayed', () => {
  const subject = subjectOf([() => giveWay(X, Y), () => giveWay(Y, X)]);
  const { failures } = exploreAll(subject, inTurn, { stepsOfOne: STEPS_MAX }).explorer;
  const failure = failures.get('step-limit') as Failure;
  expect(failure.message).toMatch(
    /^no end after 100 steps: again and again: (?:[AB] (?:store32|load32) word (?:64|72)(?:, )?){6}$/,
  );
  const simple = minimise(subject, failure, { schedules: 50, steps: 1e6, stepsOfOne: STEPS_MAX });
  expect(simple.preemptions).toBeLessThanOrEqual(failure.preemptions);
  expect(replayed(subject, simple)).toMatchObject({ message: simple.message });
});

function* spin(): Op<void> {
  for (let i = 0; ; i++) yield* load32(i % 2 === 0 ? X : Y, Order.once);
}

test('the loop is the shortest', () => {
  const { failures } = exploreAll(subjectOf([spin]), () => new RandomWalk(1), {
    schedules: 1,
    stepsOfOne: STEPS_MAX,
  }).explorer;
  expect(failures.get('step-limit')?.message).toBe(
    'no end after 100 steps: again and again: A load32 word 64, A load32 word 72',
  );
});
