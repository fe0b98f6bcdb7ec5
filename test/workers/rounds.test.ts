/** The barrier between phases and the course of a run: nobody is ahead of the others, everybody does the same. */
import { load32, Order, read32, type Op } from '#port';
import { expect, test } from 'vitest';
import { RandomScheduler } from '../../src/explore/random.ts';
import type { Actor } from '../../src/workers/actor.ts';
import { Barrier } from '../../src/workers/barrier.ts';
import { runAgent, runConductor, type Duration } from '../../src/workers/rounds.ts';
import type { Phase } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Lab, PAGE, RAM } from '../support/lab.ts';

const SLOTS = [{ base: RAM, bytes: PAGE, logging: false }];

test('nobody passes a barrier before everybody arrived, in 500 schedules of four agents', () => {
  const lab = new Lab({ vcpus: 3, slots: SLOTS });
  const { barrierArrived, barrierGeneration, rounds } = lab.world.layout.words;
  lab.shared.explore.baseline();
  for (let seed = 0; seed < 500; seed++) {
    lab.shared.explore.restore();
    const passed = [0, 0, 0, 0];
    const early: string[] = [];
    const agents = passed.map(
      (_, id) =>
        function* agent(): Op<void> {
          const barrier = new Barrier({
            arrived: barrierArrived,
            generation: barrierGeneration,
            parties: 4,
          });
          for (let turn = 1; turn <= 5; turn++) {
            // Somewhere else for a while.
            for (let i = 0; i < (id * turn) % 3; i++) yield* load32(rounds, Order.once);
            passed[id] = turn;
            yield* barrier.arrive();
            if (passed.some((other) => other < turn))
              early.push(`${id} at ${turn}: ${String(passed)}`);
          }
        },
    );
    lab.runWith(new RandomScheduler(seed), agents);
    expect({ seed, early }).toEqual({ seed, early: [] });
  }
  expect([read32(barrierArrived), read32(barrierGeneration)]).toEqual([0, 5]);
});

/** Notes what it is told to do, and who else still is in another phase. */
class Recorder implements Actor {
  readonly done: string[] = [];
  static active: string[] = [];
  static clashes: string[] = [];

  *begin(): Op<void> {
    this.done.push('begin');
    yield* load32(0, Order.once);
  }

  *perform({ name }: Phase): Op<void> {
    if (Recorder.active.some((other) => other !== name)) Recorder.clashes.push(name);
    Recorder.active.push(name);
    yield* load32(0, Order.once);
    yield* load32(0, Order.once);
    Recorder.active.splice(Recorder.active.indexOf(name), 1);
    this.done.push(name);
  }

  *end(): Op<void> {
    this.done.push('end');
    yield* load32(0, Order.once);
  }
}

const phase = (name: string): Phase => ({ name, guest: null, hosts: [] });

function course(
  seed: number,
  duration: Duration,
  rounds: readonly Phase[] = [phase('r1'), phase('r2')],
): { lab: Lab; done: string[][] } {
  const lab = new Lab({
    slots: SLOTS,
    setup: [phase('s1'), phase('s2')],
    rounds,
    ending: [phase('e1'), phase('e2')],
  });
  const actors = [new Recorder(), new Recorder(), new Recorder()];
  const [first, second, host] = actors as [Recorder, Recorder, Recorder];
  const views = [lab.view(), lab.view(), lab.view()];
  Recorder.active = [];
  Recorder.clashes = [];
  lab.runWith(new RandomScheduler(seed), [
    () => runAgent(views[0] ?? lab.world, first),
    () => runAgent(views[1] ?? lab.world, second),
    () => runConductor(views[2] ?? lab.world, host, duration),
  ]);
  return { lab, done: actors.map(({ done }) => done) };
}

test('everybody: the set-up once, then so many rounds, then the ending once, phase by phase', () => {
  for (let seed = 0; seed < 100; seed++) {
    const { lab, done } = course(seed, { rounds: 3 });
    const rounds = ['r1', 'r2', 'r1', 'r2', 'r1', 'r2'];
    const all = ['begin', 's1', 's2', ...rounds, 'e1', 'e2', 'end'];
    expect({ seed, done }).toEqual({ seed, done: [all, all, all] });
    expect({ seed, clashes: Recorder.clashes }).toEqual({ seed, clashes: [] });
    expect(read32(lab.world.layout.words.rounds)).toBe(3);
    // Virtual time: steps between the first barrier and the end, on the conductor's account alone.
    expect(lab.counter(2, STATISTICS.wallNs)).toBeGreaterThan(0);
    expect(lab.counter(0, STATISTICS.wallNs)).toBe(0);
  }
});

test('no rounds are no rounds', () => {
  const { done } = course(1, { rounds: 0 });
  expect(done[0]).toEqual(['begin', 's1', 's2', 'e1', 'e2', 'end']);
});

test('where no phase is in the rounds, set-up and ending are all, however many rounds there are', () => {
  for (let seed = 0; seed < 100; seed++) {
    const { lab, done } = course(seed, { rounds: 3 }, []);
    const all = ['begin', 's1', 's2', 'e1', 'e2', 'end'];
    expect({ seed, done }).toEqual({ seed, done: [all, all, all] });
    expect(read32(lab.world.layout.words.rounds)).toBe(0);
  }
});

test('a duration: rounds begin until it is over, and the last one is finished', () => {
  const { lab, done } = course(1, { ns: 500 });
  const rounds = read32(lab.world.layout.words.rounds);
  expect(rounds).toBeGreaterThan(3);
  expect(done.map(({ length }) => length)).toEqual([1, 1, 1].map(() => 6 + 2 * rounds));
  expect(lab.counter(2, STATISTICS.wallNs)).toBeGreaterThanOrEqual(500);
  expect(lab.counter(2, STATISTICS.wallNs)).toBeLessThan(500 + (2 * 500) / rounds + 200);
});
