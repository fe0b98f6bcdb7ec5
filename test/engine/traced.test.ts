/** The traced engine: what it records, in which order, and what happens when nobody reads. */
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { Piscina } from 'piscina';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { EventKind, RECORD } from '../../src/engine/events.ts';
import * as explore from '../../src/engine/explore.ts';
import {
  Barrier,
  PIN,
  Stop,
  Stopped,
  type Attachment,
  type Op,
  type Port,
} from '../../src/engine/port.ts';
import {
  TraceReader,
  TraceWord,
  closeRing,
  createRing,
  recordIndex,
} from '../../src/engine/trace-ring.ts';
import * as traced from '../../src/engine/traced.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { workerLaunch } from '../../src/main/worker-entry.ts';
import { COUNTER, STOP, type Report, type Task } from '../fixtures/traced/entry.ts';
import { Recorder, execute, sandbox, type Recorded } from '../support/executions.ts';

type Operation = Exclude<
  keyof Port,
  'high' | 'count' | 'counted' | 'tally' | 'now' | 'choose' | 'wait'
>;
interface Call {
  readonly operation: Operation;
  readonly argv: readonly number[];
}

type Operations = Readonly<Record<Operation, (...argv: readonly number[]) => unknown>>;
const generators = explore as unknown as Operations;
const functions = traced as unknown as Operations;

const WORDS = 8;

/** Calls on a memory of eight words. */
const call: fc.Arbitrary<Call> = (() => {
  const at = fc.integer({ min: 0, max: WORDS - 1 }).map((word) => 4 * word);
  const at64 = fc.integer({ min: 0, max: WORDS / 2 - 1 }).map((word) => 8 * word);
  const value = fc.oneof(fc.constantFrom(0, 1, -1, 0xffff_ffff), fc.integer());
  const order = fc.integer({ min: 0, max: 3 });
  const calls: Record<Operation, fc.Arbitrary<number[]>> = {
    load32: fc.tuple(at, order),
    store32: fc.tuple(at, value, order),
    add32: fc.tuple(at, value, order),
    addUnlessZero32: fc.tuple(at, fc.constantFrom(1, PIN), order),
    or32: fc.tuple(at, value, order),
    cas32: fc.tuple(at, value, value, order),
    load64: fc.tuple(at64, order),
    store64: fc.tuple(at64, value, value, order),
    cas64: fc.tuple(at64, value, value, value, value, order),
    barrier: fc.tuple(fc.constantFrom(...Object.values(Barrier))),
    fill: fc.tuple(at64, fc.constantFrom(4, 8), fc.nat(255)),
    copy: fc.constantFrom([0, 16, 16], [16, 0, 12]),
    // The flag of sleepers is never up: nobody waits.
    signal32: fc.tuple(fc.constant(0), value, order),
    signalAdd32: fc.tuple(fc.constant(0), value, order),
    retryWhen: fc.tuple(at, fc.constant(77)),
    read32: fc.tuple(at),
    write32: fc.tuple(at, value),
    event: fc.tuple(fc.integer({ min: 32, max: 60 }), at, value, value, value, value, value),
  };
  return fc.oneof(
    ...(Object.keys(calls) as Operation[]).map((operation) =>
      calls[operation].map((argv): Call => ({ operation, argv })),
    ),
  );
})();

interface Outcome {
  /** What each call gave, and the high half after a 64-bit load. */
  readonly results: readonly unknown[];
  readonly events: readonly Recorded[];
  readonly words: readonly number[];
}

function underExplore(calls: readonly Call[]): Outcome {
  const { words } = sandbox();
  const results: unknown[] = [];
  const recorder = new Recorder();
  function* agent(): Op<void> {
    for (const { operation, argv } of calls) {
      const returned = generators[operation](...argv);
      const isOp = typeof returned === 'object';
      results.push(
        isOp ? yield* returned as Op<unknown> : returned,
        ...highAfter(operation, explore.high),
      );
    }
  }
  execute({ agents: [agent], scheduler: new RoundRobin(), sinks: [recorder] });
  const recorded = recorder.events.filter(({ kind }) => kind !== 'read32');
  // Plain reads have numbers too.
  const events = recorded.map((event, i): Recorded => ({ ...event, sequence: i + 1 }));
  return { results, events, words: Array.from(words.subarray(0, WORDS)) };
}

function highAfter(operation: Operation, high: () => number): number[] {
  return operation === 'load64' ? [high()] : [];
}

function underTraced(calls: readonly Call[]): Outcome {
  const memory = { buffer: new SharedArrayBuffer(4 * WORDS) };
  const ring = openRing(64);
  traced.attach({ memory, seed: 0, statistics: 0, stop: 0, trace: { ring, agent: 0 } });
  const results = calls.flatMap(({ operation, argv }) => {
    return [functions[operation](...argv), ...highAfter(operation, traced.high)];
  });
  const { events } = drained(ring);
  return { results, events, words: Array.from(new Int32Array(memory.buffer)) };
}

/** A ring with room in it. */
function openRing(capacity: number): SharedArrayBuffer {
  const ring = createRing(capacity);
  new Int32Array(ring)[TraceWord.limit] = capacity;
  return ring;
}

/** What is in a ring that nobody writes to any more. */
function drained(ring: SharedArrayBuffer): Recorder {
  const recorder = new Recorder();
  closeRing(ring);
  const events = new TraceReader(ring).drain([recorder]);
  expect(events).toBe(recorder.events.length);
  return recorder;
}

test('does what explore does, and records it but for plain reads', () => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 40 }), (calls) => {
      expect(underTraced(calls)).toEqual(underExplore(calls));
    }),
    { seed: 20_26, numRuns: 200 },
  );
});

function attachmentOf(ring: SharedArrayBuffer): Attachment {
  const memory = { buffer: new SharedArrayBuffer(256) };
  return { memory, seed: 1, statistics: 0, stop: STOP, trace: { ring, agent: 5 } };
}

test('a choice and a wait are recorded, with who made them', () => {
  const ring = openRing(4);
  traced.attach(attachmentOf(ring));
  const chosen = traced.choose(1000);
  traced.wait(64, 1);
  expect(drained(ring).events).toMatchObject([
    { agent: 5, kind: 'choose', now: [chosen, 0], extra: 1000 },
    { agent: 5, kind: 'wait', at: 64, now: [1, 0] },
  ]);
});

test('without a ring nobody is attached', () => {
  const { trace: _, ...attachment } = attachmentOf(openRing(4));
  expect(() => traced.attach(attachment)).toThrow('the traced engine needs a ring');
});

describe('a writer without room', () => {
  test('waits for it before it touches memory, and drops nothing', () => {
    const ring = openRing(4);
    const words = new Int32Array(ring);
    const attachment = attachmentOf(ring);
    traced.attach(attachment);
    const simulated = new Int32Array(attachment.memory.buffer);
    for (let i = 0; i < 4; i++) traced.add32(64, 1, 0);
    const sleep = vi.spyOn(Atomics, 'wait').mockImplementation((_words, index, seen) => {
      expect([index, seen, simulated[16]]).toEqual([TraceWord.limit, 4, 4]);
      // The reader has taken one.
      words[TraceWord.limit] = 5;
      return 'ok';
    });
    try {
      traced.add32(64, 1, 0);
      expect(sleep).toHaveBeenCalledOnce();
    } finally {
      sleep.mockRestore();
    }
    expect([simulated[16], words[TraceWord.head], words[TraceWord.lock]]).toEqual([5, 5, 0]);
    const newest = recordIndex(4, 4);
    expect(Array.from(words.subarray(newest, newest + RECORD.words))).toEqual([
      5,
      (5 << 16) | EventKind.add32,
      64,
      4,
      0,
      5,
      0,
      0,
    ]);
  });

  test.each([
    ['room', TraceWord.limit, 0],
    ['the lock', TraceWord.lock, 1],
  ])('and whoever waits for %s, sees that the run is to stop', (_what, word, value) => {
    const ring = openRing(4);
    new Int32Array(ring)[word] = value;
    const attachment = attachmentOf(ring);
    traced.attach(attachment);
    new Int32Array(attachment.memory.buffer)[STOP / 4] = Stop.abort;
    const sleep = vi.spyOn(Atomics, 'wait').mockReturnValue('timed-out');
    try {
      expect(() => traced.store32(64, 1, 0)).toThrow(Stopped);
      expect(sleep).toHaveBeenCalledOnce();
    } finally {
      sleep.mockRestore();
    }
    expect(new Int32Array(attachment.memory.buffer)[16]).toBe(0);
  });
});

test('numbers wrap: a ring goes on where 32 bits end', () => {
  const ring = openRing(4);
  const words = new Int32Array(ring);
  words[TraceWord.head] = 0x7fff_ffff;
  words[TraceWord.limit] = 0x8000_0003;
  traced.attach(attachmentOf(ring));
  for (let i = 0; i < 4; i++) traced.barrier(i);
  expect([words[TraceWord.head], words[TraceWord.lock]]).toEqual([-0x7fff_fffd, 0]);
});

describe('more threads than cores', () => {
  const WRITERS = 5;
  const ADDITIONS = 400;
  let pool: Piscina;
  beforeAll(() => {
    pool = new Piscina({
      ...workerLaunch('traced', new URL('../fixtures/traced/entry.ts', import.meta.url)),
      minThreads: WRITERS + 1,
      maxThreads: WRITERS + 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
    });
  });
  afterAll(() => pool.destroy());

  function tasksOf(ring: SharedArrayBuffer): Task[] {
    const memory = { buffer: new SharedArrayBuffer(256) };
    const additions = ADDITIONS;
    return Array.from({ length: WRITERS }, (_, agent): Task => {
      return { memory, ring, agent, additions, what: 'add' };
    });
  }

  async function run(tasks: readonly Task[]): Promise<Report[]> {
    return Promise.all(tasks.map(async (task) => (await pool.run(task)) as Report));
  }

  test.each([4, 1024])(
    'write one stream in the order of their accesses into a ring of %i',
    async (capacity) => {
      const ring = createRing(capacity);
      const tasks = tasksOf(ring);
      const [first] = tasks as [Task, ...Task[]];
      const all = WRITERS * ADDITIONS;
      const reader: Task = { ...first, additions: all, what: 'read' };
      const [report] = await run([reader, ...tasks]);
      const byAgent = tasks.map(() => ADDITIONS);
      expect(report).toEqual({ end: 'completed', events: all, wrong: 0, byAgent });
      expect(new Int32Array(first.memory.buffer)[COUNTER / 4]).toBe(all);
    },
  );

  test('end on the stop word when nobody reads', async () => {
    const ring = createRing(4);
    const tasks = tasksOf(ring);
    const words = new Int32Array((tasks[0] as Task).memory.buffer);
    const reports = run(tasks);
    // One of them waits for room; it will not come.
    while (Atomics.load(new Int32Array(ring), TraceWord.lock) === 0) await setImmediate();
    Atomics.store(words, STOP / 4, Stop.abort);
    expect((await reports).map(({ end }) => end)).toEqual(tasks.map(() => 'stopped'));
    expect(words[COUNTER / 4]).toBe(0);
  });
});
