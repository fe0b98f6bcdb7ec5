import { expect, test } from 'vitest';
import { Order, store32, type Op, type Word } from '#port';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { GRANT_BYTES, RunQueue, type RunQueueLayout } from '../../src/kvm/run-queue.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { STATISTICS as OFFSETS } from '../../src/workers/statistics.ts';
import { STATISTICS, execute, sandbox } from '../support/executions.ts';

const LOCK: Word = 0x100;
const TASKS = 4;

function queueOf(cpus: number): RunQueue {
  const layout: RunQueueLayout = {
    cpus,
    tasks: TASKS,
    line: 0x1000,
    busy: 0x1100,
    places: 0x1200,
    grants: 0x1300,
  };
  expect(layout.grants + TASKS * GRANT_BYTES).toBeLessThan(STATISTICS);
  return new RunQueue(layout, new SpinLock(LOCK, TASKS, OFFSETS.locks.run_queue));
}

/** Takes a CPU some times, and tells who has which. */
function taker(
  task: number,
  cpus: number,
  times: number,
  on: (task: number, cpu: number) => void,
): () => Op<void> {
  return function* () {
    const queue = queueOf(cpus);
    let last = task % cpus;
    for (let i = 0; i < times; i++) {
      last = yield* queue.take(task, last);
      on(task, last);
      yield* store32(0x80, 1, Order.once);
      on(-1, last);
      yield* queue.give(last);
    }
  };
}

test('a CPU that is free is taken at once, the last one first', () => {
  sandbox();
  const taken: number[] = [];
  const task = function* (): Op<void> {
    const queue = queueOf(3);
    taken.push(yield* queue.take(0, 1), yield* queue.take(1, 1), yield* queue.take(2, 2));
    yield* queue.give(1);
    taken.push(yield* queue.take(3, 0));
  };
  expect(execute({ agents: [task], scheduler: new Scripted([]) }).outcome).toBe('completed');
  expect(taken).toEqual([1, 0, 2, 1]);
});

test('tasks that wait are served in the order of their coming', () => {
  sandbox();
  const order: number[] = [];
  const agents = [0, 1, 2, 3].map((task) =>
    taker(task, 1, 1, (who) => who >= 0 && order.push(who)),
  );
  // Each goes as far as it can before the next one comes.
  const script = [
    { agent: 2, until: ({ at }: { at: Word }) => at === 0x80 },
    { agent: 3, toEnd: true as const },
    { agent: 0, toEnd: true as const },
    { agent: 1, toEnd: true as const },
  ];
  expect(execute({ agents, scheduler: new Scripted(script) }).outcome).toBe('completed');
  expect(order).toEqual([2, 3, 0, 1]);
});

test('no CPU has two tasks, and each task gets its turns on all of them', () => {
  const where = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    sandbox();
    const on = new Map<number, number>();
    let clashes = 0;
    const note = (task: number, cpu: number): void => {
      if (task >= 0 && (on.get(cpu) ?? -1) >= 0) clashes++;
      on.set(cpu, task);
      if (task >= 0) where.add(`${task} on ${cpu}`);
    };
    const agents = [0, 1, 2, 3].map((task) => taker(task, 2, 5, note));
    const result = execute({ agents, scheduler: new RandomScheduler(seed) });
    expect([result.outcome, clashes]).toEqual(['completed', 0]);
  }
  expect(where.size).toBe(8);
});

test('it is contended while a task waits', () => {
  sandbox();
  const seen: boolean[] = [];
  const holder = function* (): Op<void> {
    const queue = queueOf(1);
    const cpu = yield* queue.take(0, 0);
    seen.push(yield* queue.isContended());
    yield* store32(0x80, 1, Order.once);
    seen.push(yield* queue.isContended());
    yield* queue.give(cpu);
    seen.push(yield* queue.isContended());
  };
  const other = taker(1, 1, 1, () => {});
  const script = [
    { agent: 0, until: ({ at }: { at: Word }) => at === 0x80 },
    { agent: 1, toEnd: true as const },
  ];
  const result = execute({ agents: [holder, other], scheduler: new Scripted(script) });
  expect([result.outcome, seen]).toEqual(['completed', [false, true, false]]);
});
