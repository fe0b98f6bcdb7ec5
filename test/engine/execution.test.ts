import { beforeEach, describe, expect, test } from 'vitest';
import {
  Order,
  cas32,
  choose,
  drive,
  explore,
  copy,
  fill,
  load32,
  now,
  retryWhen,
  signal32,
  store32,
  store64,
  wait,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventDigest, EventKind } from '../../src/engine/events.ts';
import { Execution, type Scheduler } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { Recorder, execute, sandbox } from '../support/executions.ts';

const X = 64;
const Y = 128;
const inOrder: () => Scripted = () => new Scripted([]);

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

/** Some loads of one word. */
function* loads(at: Word, times: number): Op<void> {
  for (let i = 0; i < times; i++) yield* load32(at, Order.once);
}

function* take(lock: Word): Op<void> {
  while (!(yield* cas32(lock, 0, 1, Order.acquire))) yield* wait(lock, 1);
}

function* give(lock: Word): Op<void> {
  yield* signal32(lock, 0, Order.release);
}

describe('a step', () => {
  test('is one operation, and the clock counts them', () => {
    const times: number[] = [];
    const agent = function* (): Op<void> {
      times.push(now());
      for (let i = 0; i < 3; i++) {
        yield* load32(X, Order.once);
        times.push(now());
      }
    };
    const result = execute({ agents: [agent], scheduler: inOrder() });
    expect(result).toEqual({ outcome: 'completed', steps: 3 });
    expect(times).toEqual([0, 1, 2, 3]);
  });

  test('is none for an agent without operations', () => {
    const agents = [function* (): Op<void> {}];
    expect(execute({ agents, scheduler: inOrder() })).toEqual({ outcome: 'completed', steps: 0 });
  });

  test('is performed by the agent the scheduler names', () => {
    const recorder = new Recorder();
    const agents = [() => loads(X, 3), () => loads(Y, 2)];
    const scheduler = new RoundRobin();
    expect(execute({ agents, scheduler, sinks: [recorder] })).toEqual({
      outcome: 'completed',
      steps: 5,
    });
    expect(recorder.events.map(({ agent }) => agent)).toEqual([0, 1, 0, 1, 0]);
    expect(recorder.events.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
  });

  test('costs a yield only where another agent is next', () => {
    let resumed = 0;
    const counted = (): Op<void> => {
      const op = loads(X, 10);
      const next = op.next.bind(op);
      op.next = () => {
        resumed++;
        return next();
      };
      return op;
    };
    const scheduler = new Scripted([
      { agent: 0, steps: 4 },
      { agent: 1, steps: 1 },
    ]);
    const agents = [counted, () => loads(Y, 2)];
    expect(execute({ agents, scheduler }).steps).toBe(12);
    // To the first operation, from there, and after agent B.
    expect(resumed).toBe(3);
  });

  test('lets the scheduler see who can run, who ran and what is pending', () => {
    const seen: unknown[] = [];
    const scheduler: Scheduler = {
      next(view) {
        const { runnable, current, steps } = view;
        const pending = runnable.map((agent) => ({ ...view.pending(agent) }));
        seen.push({ runnable: [...runnable], current, steps, pending });
        return runnable.at(-1) as number;
      },
      choose: () => 0,
    };
    execute({ agents: [() => loads(X, 1), () => store32(Y, 1, Order.once)], scheduler });
    expect(seen).toMatchObject([
      {
        runnable: [0, 1],
        current: -1,
        steps: 0,
        pending: [
          { kind: EventKind.load32, at: X },
          { kind: EventKind.store32, at: Y },
        ],
      },
      { runnable: [0], current: 1, steps: 1, pending: [{ kind: EventKind.load32, at: X }] },
    ]);
  });
});

function* signalAndLook(): Op<void> {
  yield* signal32(X, 0, Order.release);
  yield* load32(X, Order.once);
}

describe('a wait', () => {
  test('blocks until a signal', () => {
    const recorder = new Recorder();
    const scheduler = new Scripted([{ agent: 0, toEnd: true }]);
    const agents = [
      function* (): Op<void> {
        yield* wait(X, 0);
        yield* load32(X, Order.acquire);
      },
      () => signal32(X, 9, Order.release),
    ];
    expect(execute({ agents, scheduler, sinks: [recorder] }).outcome).toBe('completed');
    expect(recorder.lines()).toEqual([
      'A wait 64: 0 -> 0',
      'B signal 64: 0 -> 9',
      'A load32 64: 9 -> 9',
    ]);
  });

  test('returns at once when the word differs', () => {
    memory.words[X / 4] = 1;
    const result = execute({ agents: [() => wait(X, 0)], scheduler: inOrder() });
    expect(result).toEqual({ outcome: 'completed', steps: 1 });
  });

  test('is not ended by a signal of another word', () => {
    const scheduler = new Scripted([{ agent: 0, toEnd: true }]);
    const agents = [() => wait(X, 0), () => signal32(Y, 1, Order.release)];
    expect(execute({ agents, scheduler })).toEqual({
      outcome: 'deadlock',
      steps: 2,
      detail: 'A waiting on word 64',
    });
  });

  test('ends for all who wait for the word', () => {
    const scheduler = new Scripted([
      { agent: 2, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const runnable: (readonly number[])[] = [];
    const probe: Scheduler = {
      next(view) {
        runnable.push([...view.runnable]);
        return scheduler.next(view);
      },
      choose: () => 0,
    };
    const agents = [() => wait(X, 0), signalAndLook, () => wait(X, 0)];
    expect(execute({ agents, scheduler: probe }).outcome).toBe('completed');
    expect(runnable).toEqual([[0, 1, 2], [0, 1], [1], [0, 1, 2], [0, 2], [2]]);
  });

  test.each([
    ['store32', () => store32(X, 1, Order.once)],
    ['store64', () => store64(X, 1, 0, Order.once)],
    ['fill', () => fill(X - 64, 128, 1)],
    ['copy', () => copy(X - 64, 256, 128)],
    [
      'write32',
      function* (): Op<void> {
        yield* load32(Y, Order.once);
        write32(X, 1);
      },
    ],
  ])('is an error where its word is written by %s', (_name, writer) => {
    const scheduler = new Scripted([{ agent: 0, toEnd: true }]);
    expect(execute({ agents: [() => wait(X, 0), writer], scheduler })).toMatchObject({
      outcome: 'threw',
      detail: 'B: word 64 has a waiter (A) and was written without a signal',
    });
  });
});

const retrying = function* (): Op<void> {
  yield* retryWhen(X, 0);
  yield* load32(X, Order.once);
};

const first = (): Scripted => new Scripted([{ agent: 0, toEnd: true }]);

describe('a retry', () => {
  test('goes on at once when the word differs', () => {
    memory.words[X / 4] = 1;
    expect(execute({ agents: [retrying], scheduler: inOrder() })).toEqual({
      outcome: 'completed',
      steps: 2,
    });
  });

  test('is parked until the word differs', () => {
    const recorder = new Recorder();
    const scheduler = new Scripted([
      { agent: 0, toEnd: true },
      { agent: 1, steps: 3 },
      { agent: 0, toEnd: true },
    ]);
    const result = execute({
      agents: [
        retrying,
        function* (): Op<void> {
          yield* store32(X, 0, Order.once);
          yield* store32(Y, 5, Order.once);
          yield* store32(X, 5, Order.once);
          yield* store32(X, 6, Order.once);
        },
      ],
      scheduler,
      sinks: [recorder],
    });
    expect(result.outcome).toBe('completed');
    expect(recorder.lines()).toEqual([
      'A retryWhen 64: 0 -> 0',
      'B store32 64: 0 -> 0',
      'B store32 128: 0 -> 5',
      'B store32 64: 0 -> 5',
      'A load32 64: 5 -> 5',
      'B store32 64: 5 -> 6',
    ]);
  });

  test.each([
    [
      'a plain write',
      function* (): Op<void> {
        yield* load32(Y, Order.once);
        write32(X, 0x8000_0000);
      },
    ],
    ['a signal', () => signal32(X, 1, Order.once)],
    ['its low half', () => store64(X, 1, 0, Order.once)],
    ['its high half', () => store64(X - 4, 0, 1, Order.once)],
    ['a fill up to it', () => fill(X - 64, 68, 7)],
    [
      'a copy over it',
      function* (): Op<void> {
        yield* store32(Y, 3, Order.once);
        yield* copy(X, Y, 4);
      },
    ],
    ['a fill from it on', () => fill(X, 4, 7)],
  ])('goes on after %s', (_name, writer) => {
    expect(execute({ agents: [retrying, writer], scheduler: first() }).outcome).toBe('completed');
  });

  test.each([
    ['the same value', () => store32(X, 0, Order.once)],
    ['a copy of the same value', () => copy(X, 0, 8)],
    ['a fill with the same value', () => fill(0, 1024, 0)],
    ['a fill before it', () => fill(0, X, 7)],
    ['a fill after it', () => fill(X + 4, 8, 7)],
  ])('stays parked after %s', (_name, writer) => {
    expect(execute({ agents: [retrying, writer], scheduler: first() })).toEqual({
      outcome: 'deadlock',
      steps: 2,
      detail: 'A retrying on word 64',
    });
  });

  test.each([
    ['32 bits', () => store32(X, 0xffff_ffff, Order.once)],
    ['a low half', () => store64(X, 0xffff_ffff, 7, Order.once)],
    ['a high half', () => store64(X - 4, 7, 0xffff_ffff, Order.once)],
  ])('compares as signed: %s', (_name, writer) => {
    memory.words[X / 4] = -1;
    expect(execute({ agents: [() => retryWhen(X, -1), writer], scheduler: first() })).toMatchObject(
      {
        outcome: 'deadlock',
      },
    );
  });
});

describe('a deadlock', () => {
  const opposite = [
    function* (): Op<void> {
      yield* take(X);
      yield* take(Y);
      yield* give(Y);
      yield* give(X);
    },
    function* (): Op<void> {
      yield* take(Y);
      yield* take(X);
      yield* give(X);
      yield* give(Y);
    },
  ];

  test('of two locks taken in opposite order is seen at once', () => {
    const scheduler = new Scripted([
      { agent: 0, steps: 1 },
      { agent: 1, steps: 1 },
    ]);
    expect(execute({ agents: opposite, scheduler })).toEqual({
      outcome: 'deadlock',
      steps: 6,
      detail: 'A waiting on word 128; B waiting on word 64',
    });
  });

  test('is not seen where the schedule avoids it', () => {
    expect(execute({ agents: opposite, scheduler: inOrder() })).toEqual({
      outcome: 'completed',
      steps: 8,
    });
  });

  test('is met by some random schedules and not by others', () => {
    const outcomes = new Set(
      Array.from({ length: 100 }, (_, seed) => {
        memory = sandbox();
        return execute({ agents: opposite, scheduler: new RandomScheduler(seed) }).outcome;
      }),
    );
    expect(outcomes).toEqual(new Set(['completed', 'deadlock']));
  });

  test('comes of a signal that is lost between the look and the wait', () => {
    const agents = [
      function* (): Op<void> {
        const seen = yield* load32(X, Order.acquire);
        yield* wait(X, seen);
      },
      function* (): Op<void> {
        yield* signal32(X, 1, Order.release);
        yield* signal32(X, 0, Order.release);
      },
    ];
    const lost = new Scripted([
      { agent: 0, steps: 1 },
      { agent: 1, toEnd: true },
    ]);
    expect(execute({ agents, scheduler: lost })).toEqual({
      outcome: 'deadlock',
      steps: 4,
      detail: 'A waiting on word 64',
    });
    expect(execute({ agents, scheduler: inOrder() }).outcome).toBe('completed');
  });
});

const spin = function* (): Op<void> {
  while ((yield* load32(X, Order.once)) === 0);
};

describe('the budget of steps', () => {
  test('of 1 is spent after one step', () => {
    const recorder = new Recorder();
    const agents = [() => loads(X, 2)];
    const result = execute({ agents, scheduler: inOrder(), stepsMax: 1, sinks: [recorder] });
    expect(result).toEqual({ outcome: 'stepsExceeded', steps: 1, detail: 'no end after 1 steps' });
    expect(recorder.events).toHaveLength(1);
  });

  test('of exactly the steps needed suffices', () => {
    const agents = [() => loads(X, 2), () => loads(Y, 2)];
    const result = execute({ agents, scheduler: new RoundRobin(), stepsMax: 4 });
    expect(result).toEqual({ outcome: 'completed', steps: 4 });
  });

  test('ends agents that wait for each other busily', () => {
    const result = execute({ agents: [spin, spin], scheduler: new RoundRobin(), stepsMax: 100 });
    expect(result).toEqual({
      outcome: 'stepsExceeded',
      steps: 100,
      detail: 'no end after 100 steps',
    });
  });
});

const forever = function* (): Op<void> {
  for (;;) yield* load32(X, Order.once);
};

function* serve(): Op<void> {
  yield* wait(X, 0);
  yield* store32(Y, 1, Order.once);
  yield* wait(X, 1);
}

describe('a daemon', () => {
  test('may be unfinished at the end', () => {
    const agents = [forever, () => loads(Y, 2)];
    const result = execute({ agents, scheduler: new RoundRobin(), daemons: [0] });
    expect(result).toEqual({ outcome: 'completed', steps: 4 });
  });

  test('may wait at the end', () => {
    const agents = [() => wait(X, 0), () => loads(Y, 1)];
    const scheduler = new Scripted([{ agent: 0, toEnd: true }]);
    expect(execute({ agents, scheduler, daemons: [0] })).toEqual({
      outcome: 'completed',
      steps: 2,
    });
  });

  test('that serves the others goes on until it waits', () => {
    const agents = [serve, () => signal32(X, 1, Order.release)];
    for (const script of [[], [{ agent: 1, toEnd: true }] as const]) {
      memory = sandbox();
      const result = execute({ agents, scheduler: new Scripted(script), servers: [0] });
      expect(result.outcome).toBe('completed');
      expect(memory.words[Y / 4]).toBe(1);
    }
  });

  test('can end before the others do', () => {
    const agents = [() => loads(X, 1), () => loads(Y, 2)];
    expect(execute({ agents, scheduler: inOrder(), daemons: [0] })).toEqual({
      outcome: 'completed',
      steps: 3,
    });
  });

  test('can wake who waits', () => {
    const agents = [() => wait(X, 0), () => signal32(X, 1, Order.release)];
    const scheduler = new Scripted([{ agent: 0, toEnd: true }]);
    expect(execute({ agents, scheduler, daemons: [1] }).outcome).toBe('completed');
  });

  test('that waits itself leaves a deadlock', () => {
    const agents = [() => wait(X, 0), () => wait(Y, 0)];
    expect(execute({ agents, scheduler: inOrder(), daemons: [1] })).toEqual({
      outcome: 'deadlock',
      steps: 2,
      detail: 'A waiting on word 64; B waiting on word 128',
    });
  });
});

describe('an error', () => {
  test('of an agent ends the execution, names the agent and keeps the error', () => {
    const error = new RangeError('beyond the table');
    const failing = function* (): Op<void> {
      yield* load32(X, Order.once);
      throw error;
    };
    const agents = [() => loads(Y, 5), failing];
    expect(execute({ agents, scheduler: new RoundRobin() })).toEqual({
      outcome: 'threw',
      steps: 2,
      detail: 'B: beyond the table',
      error,
    });
  });

  test('of a scheduler that picks who cannot run', () => {
    const scheduler: Scheduler = { next: () => 1, choose: () => 0 };
    expect(execute({ agents: [() => loads(X, 1)], scheduler })).toMatchObject({
      outcome: 'threw',
      steps: 0,
      detail: 'scheduler: the scheduler picked agent 1, which cannot run',
    });
    const agents = [() => loads(X, 1), () => wait(X, 0)];
    expect(execute({ agents, scheduler })).toMatchObject({
      outcome: 'threw',
      steps: 1,
      detail: 'B: the scheduler picked agent 1, which cannot run',
    });
  });

  test('of a scheduler that picks who has finished', () => {
    const scheduler: Scheduler = { next: () => 0, choose: () => 0 };
    expect(execute({ agents: [() => loads(X, 1), () => loads(Y, 1)], scheduler })).toMatchObject({
      outcome: 'threw',
      steps: 1,
      detail: 'A: the scheduler picked agent 0, which cannot run',
    });
  });

  test('leaves the generators of the others where they are', () => {
    const released: string[] = [];
    const holder = function* (): Op<void> {
      try {
        yield* loads(X, 5);
      } finally {
        released.push('holder');
      }
    };
    execute({
      agents: [
        holder,
        function* (): Op<void> {
          yield* load32(Y, Order.once);
          throw new Error('an assertion');
        },
      ],
      scheduler: new RoundRobin(),
    });
    expect(released).toEqual([]);
  });

  test('does not keep the next execution from running', () => {
    expect(
      execute({
        agents: [
          function* (): Op<void> {
            throw new Error('at once');
          },
        ],
        scheduler: inOrder(),
      }).outcome,
    ).toBe('threw');
    expect(execute({ agents: [() => loads(X, 1)], scheduler: inOrder() }).outcome).toBe(
      'completed',
    );
    expect(drive(load32(X, Order.once))).toBe(0);
  });

  test('refuses drive and explore inside an execution', () => {
    expect(
      execute({
        agents: [
          function* (): Op<void> {
            drive(load32(X, Order.once));
          },
        ],
        scheduler: inOrder(),
      }),
    ).toMatchObject({
      outcome: 'threw',
      detail: 'A: drive was called inside an execution',
    });
    expect(
      execute({
        agents: [
          function* (): Op<void> {
            explore(new Execution({ agents: [], scheduler: inOrder(), stepsMax: 1 }));
          },
        ],
        scheduler: inOrder(),
      }),
    ).toMatchObject({
      outcome: 'threw',
      detail: 'A: an execution is running already',
    });
  });
});

describe('the scheduler determines everything', () => {
  /** Three agents whose loads and stores of two words race, with a choice each. */
  const racing = [1, 2, 3].map(
    (value) =>
      function* (): Op<void> {
        for (let i = 0; i < 4; i++) {
          const at = (yield* choose(2)) === 0 ? X : Y;
          const seen = yield* load32(at, Order.once);
          yield* store32(at, seen * 3 + value, Order.once);
        }
      },
  );
  function digestOf(scheduler: Scheduler): string {
    memory = sandbox();
    const digest = new EventDigest();
    execute({ agents: racing, scheduler, sinks: [digest] });
    return digest.hex();
  }

  test('an equal seed gives equal events', () => {
    for (let seed = 0; seed < 20; seed++) {
      expect(digestOf(new RandomScheduler(seed))).toBe(digestOf(new RandomScheduler(seed)));
    }
  });

  test('other seeds give other events', () => {
    const digests = Array.from({ length: 50 }, (_, seed) => digestOf(new RandomScheduler(seed)));
    expect(new Set(digests).size).toBe(50);
  });

  test('every scheduler has its own', () => {
    const schedulers = [new RoundRobin(), new RoundRobin(2), new Scripted([], Array(12).fill(1))];
    expect(new Set(schedulers.map(digestOf)).size).toBe(3);
  });
});
