import { beforeEach, describe, expect, test } from 'vitest';
import {
  Barrier,
  Order,
  add32,
  attach,
  barrier,
  cas32,
  cas64,
  choose,
  count,
  counted,
  drive,
  event,
  copy,
  fill,
  high,
  load32,
  load64,
  or32,
  read32,
  retryWhen,
  signal32,
  signalAdd32,
  store32,
  store64,
  tally,
  wait,
  write32,
  type Op,
} from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { Scheduler } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { BLOCK_BYTES, Recorder, STATISTICS, execute, sandbox } from '../support/executions.ts';

const X = 64;

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
  memory.words[X / 4] = 5;
  memory.words[X / 4 + 1] = -6;
});

const { acquire, full, once, release } = Order;
type Halves = readonly [lo: number, hi: number];

/** Every operation on a word that holds 5 and -6: the event's kind, halves before, halves after, extra. */
const atomic: readonly (readonly [
  name: string,
  op: () => Op<unknown>,
  result: unknown,
  kind: keyof typeof EventKind,
  old: Halves,
  now: Halves,
  extra: number,
])[] = [
  ['load32', () => load32(X, acquire), 5, 'load32', [5, 0], [5, 0], acquire],
  ['store32', () => store32(X, 7, release), undefined, 'store32', [5, 0], [7, 0], release],
  ['add32', () => add32(X, -9, full), 5, 'add32', [5, 0], [-4, 0], full],
  ['or32', () => or32(X, 10, once), 5, 'or32', [5, 0], [15, 0], once],
  ['cas32', () => cas32(X, 5, 8, full), true, 'cas32', [5, 0], [8, 0], full],
  ['cas32, lost', () => cas32(X, 4, 8, full), false, 'cas32', [5, 0], [5, 0], full],
  ['load64', () => load64(X, acquire), 5, 'load64', [5, -6], [5, -6], acquire],
  ['store64', () => store64(X, 1, 2, release), undefined, 'store64', [5, -6], [1, 2], release],
  ['cas64', () => cas64(X, 5, -6, 1, 2, full), true, 'cas64', [5, -6], [1, 2], full],
  ['cas64, lost', () => cas64(X, 5, 6, 1, 2, full), false, 'cas64', [5, -6], [5, -6], full],
  ['fill', () => fill(X, 8, 3), undefined, 'fill', [0, 0], [3, 0], 8],
  ['copy', () => copy(X, 0, 8), undefined, 'copy', [0, 0], [0, 0], 8],
  ['wait', () => wait(X, 4), undefined, 'wait', [4, 0], [4, 0], 0],
  ['signal32', () => signal32(X, 6, release), undefined, 'signal', [5, 0], [6, 0], release],
  ['signalAdd32', () => signalAdd32(X, 2, full), 5, 'signal', [5, 0], [7, 0], full],
  ['retryWhen', () => retryWhen(X, 4), undefined, 'retryWhen', [4, 0], [4, 0], 0],
];

describe('one operation, one step, one event', () => {
  test.each(atomic)('%s', (_name, op, result, kind, old, now, extra) => {
    const recorder = new Recorder();
    let given: unknown = 'nothing';
    const agent = function* (): Op<void> {
      given = yield* op();
    };
    const pending: unknown[] = [];
    const scheduler: Scheduler = {
      next(view) {
        pending.push({ ...view.pending(0) });
        return 0;
      },
      choose: () => 0,
    };
    const ended = execute({ agents: [agent], scheduler, sinks: [recorder] });
    expect(ended).toEqual({ outcome: 'completed', steps: 1 });
    expect(given).toBe(result);
    expect(pending).toMatchObject([{ kind: EventKind[kind], at: X }]);
    expect(recorder.events).toEqual([{ sequence: 1, agent: 0, kind, at: X, old, now, extra }]);
  });

  test('a barrier and a choice have no word', () => {
    const recorder = new Recorder();
    const agent = function* (): Op<void> {
      yield* barrier(Barrier.dsbIsh);
      write32(X, yield* choose(9));
    };
    const scheduler = new Scripted([], [4]);
    const ended = execute({ agents: [agent], scheduler, sinks: [recorder] });
    expect(ended).toEqual({ outcome: 'completed', steps: 2 });
    expect(recorder.events.slice(0, 2)).toMatchObject([
      { kind: 'barrier', at: 0, old: [0, 0], now: [0, 0], extra: Barrier.dsbIsh },
      { kind: 'choose', at: 0, old: [0, 0], now: [4, 0], extra: 9 },
    ]);
    expect(memory.words[X / 4]).toBe(4);
  });

  test('plain accesses and moments are events without a step', () => {
    const recorder = new Recorder();
    const agent = function* (): Op<void> {
      write32(X, read32(X) + 1);
      event(EventKind.tlbi, 0x1000, 1, 2);
    };
    const ended = execute({ agents: [agent], scheduler: new RoundRobin(), sinks: [recorder] });
    expect(ended).toEqual({ outcome: 'completed', steps: 0 });
    expect(recorder.events).toEqual([
      { sequence: 1, agent: 0, kind: 'read32', at: X, old: [5, 0], now: [5, 0], extra: 0 },
      { sequence: 2, agent: 0, kind: 'write32', at: X, old: [5, 0], now: [6, 0], extra: 0 },
      { sequence: 3, agent: 0, kind: 'tlbi', at: 0x1000, old: [0, 0], now: [1, 2], extra: 0 },
    ]);
  });

  test('statistics are neither', () => {
    const recorder = new Recorder();
    const agents = [
      function* (): Op<void> {
        count(0, 1);
        tally(8);
        counted(0);
      },
    ];
    const ended = execute({ agents, scheduler: new RoundRobin(), sinks: [recorder] });
    expect(ended).toEqual({ outcome: 'completed', steps: 0 });
    expect(recorder.events).toEqual([]);
  });
});

describe('what belongs to one agent', () => {
  test('its high half survives the loads of others', () => {
    const halves: number[][] = [[], []];
    const loader = (id: number, at: number) =>
      function* (): Op<void> {
        yield* load64(at, once);
        yield* load32(0, once);
        halves[id]?.push(high());
      };
    memory.words[X / 4 + 3] = 77;
    execute({ agents: [loader(0, X), loader(1, X + 8)], scheduler: new RoundRobin() });
    expect(halves).toEqual([[-6], [77]]);
  });

  test('its high half is not that of the main thread', () => {
    drive(load64(X, once));
    memory.words[X / 4 + 3] = 77;
    const other = function* (): Op<void> {
      yield* load64(X + 8, once);
    };
    execute({ agents: [other], scheduler: new RoundRobin() });
    expect(high()).toBe(-6);
  });

  test('its statistics lie in its own block', () => {
    const counting = (n: number) =>
      function* (): Op<void> {
        count(8, n);
        tally(16);
        yield* load32(X, once);
        count(8, n);
        write32(X + n * 4, counted(8));
      };
    execute({ agents: [counting(1), counting(2)], scheduler: new RoundRobin() });
    const blocks = [0, 1].map((id) => STATISTICS + id * BLOCK_BYTES);
    expect(blocks.map((block) => memory.floats[block / 8 + 1])).toEqual([2, 4]);
    expect(blocks.map((block) => memory.words[block / 4 + 4])).toEqual([1, 1]);
    expect([memory.words[X / 4 + 1], memory.words[X / 4 + 2]]).toEqual([2, 4]);
    count(8, 3);
    expect(memory.floats[STATISTICS / 8 + 1]).toBe(2);
    expect(counted(8)).toBe(3);
  });
});

test('attach binds to new memory', () => {
  attach({ memory: { buffer: new ArrayBuffer(256) }, seed: 0, statistics: 128, stop: 0 });
  drive(store32(X, 9, once));
  expect(memory.words[X / 4]).toBe(5);
});

test('an addition gives no more than the bits that its caller looks at', () => {
  memory = sandbox();
  memory.words[X / 4] = 0x1f;
  expect(drive(add32(X, 1, Order.once, 0x3))).toBe(0x3);
  expect(drive(add32(X, 0, Order.once))).toBe(0x20);
});
