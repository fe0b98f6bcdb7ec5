import { beforeEach, describe, expect, test } from 'vitest';
import { Order, add32, drive, type Op } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { Mutex } from '../../src/locking/mutex.ts';
import { SeqCount } from '../../src/locking/seq-count.ts';
import { readCounted, writeCounted } from '../fixtures/threads-locking/agents.ts';
import {
  AT,
  LOCK_STATISTICS,
  SEQ_COUNT_STATISTICS,
  statisticsOf,
} from '../fixtures/threads-locking/layout.ts';
import { disturb, play, sandbox } from '../support/executions.ts';

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function sequence(): SeqCount {
  return new SeqCount(AT.sequence, SEQ_COUNT_STATISTICS);
}

function reader(rounds: number): () => Op<void> {
  const own = sequence();
  return function* (): Op<void> {
    if ((yield* readCounted(own, AT.counter, rounds)) > 0) throw new Error('torn');
  };
}

function writer(rounds: number): () => Op<void> {
  const lock = new Mutex(AT.lock, 4, LOCK_STATISTICS);
  const own = sequence();
  return () => writeCounted(lock, own, AT.counter, rounds);
}

function counted(agent: number): { reads: number; retries: number } {
  const float = (offset: number): number =>
    memory.floats[(statisticsOf(agent) + offset) / 8] as number;
  return {
    reads: float(SEQ_COUNT_STATISTICS.reads),
    retries: float(SEQ_COUNT_STATISTICS.retries),
  };
}

test('what is read belongs together under any schedule', () => {
  memory.baseline();
  let retries = 0;
  for (let seed = 0; seed < 2000; seed++) {
    memory.restore();
    const agents = [reader(2), reader(2), writer(2), writer(2), () => disturb([AT.sequence])];
    const { result } = play(agents, new RandomScheduler(seed));
    expect(result).toMatchObject({ outcome: 'completed' });
    expect(memory.words[AT.sequence / 4]).toBe(8);
    expect(memory.words[AT.counter / 4 + 1]).toBe(4);
    expect(counted(0).reads).toBe(2 + counted(0).retries);
    retries += counted(0).retries;
  }
  expect(retries).toBeGreaterThan(0);
});

function untilLoadOf(agent: number, at: number): ScriptLine {
  return { agent, until: (pending) => pending.kind === EventKind.load32 && pending.at === at };
}

function untilSignal(agent: number): ScriptLine {
  return { agent, until: (pending) => pending.kind === EventKind.signal };
}

describe('word by word', () => {
  test('a write between two loads spoils the attempt', () => {
    const script = new Scripted([
      untilLoadOf(0, AT.counter + 4),
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const { recorder } = play([reader(1), writer(1)], script);
    const lines = recorder.lines().filter((line) => line.startsWith('A'));
    expect(lines).toEqual([
      `A load32 ${AT.sequence}: 0 -> 0`,
      `A load32 ${AT.counter}: 0 -> 0`,
      `A load32 ${AT.counter + 4}: 1 -> 1`,
      `A load32 ${AT.sequence}: 2 -> 2`,
      `A load32 ${AT.sequence}: 2 -> 2`,
      `A load32 ${AT.counter}: 1 -> 1`,
      `A load32 ${AT.counter + 4}: 1 -> 1`,
      `A load32 ${AT.sequence}: 2 -> 2`,
    ]);
    expect(counted(0)).toEqual({ reads: 2, retries: 1 });
  });

  test('a write that is still open at the second look spoils it too', () => {
    const script = new Scripted([
      untilLoadOf(0, AT.counter + 4),
      untilSignal(1),
      { agent: 1, steps: 1 },
      { agent: 0, steps: 2 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const { result } = play([reader(1), writer(1)], script);
    expect(result.outcome).toBe('completed');
    expect(counted(0)).toEqual({ reads: 2, retries: 1 });
  });

  test('a reader waits for an open write, which may end before the wait', () => {
    for (const steps of [1, 2]) {
      memory = sandbox();
      const script = new Scripted([
        untilSignal(1),
        { agent: 1, steps: 1 },
        { agent: 0, steps },
        { agent: 1, toEnd: true },
        { agent: 0, toEnd: true },
      ]);
      const { recorder, result } = play([reader(1), writer(1)], script);
      expect(result.outcome).toBe('completed');
      expect(recorder.agentsOf('wait')).toEqual([0]);
      expect(counted(0)).toEqual({ reads: 1, retries: 0 });
    }
  });

  test('counts wrap', () => {
    memory.words[AT.sequence / 4] = -2;
    const { result } = play([reader(3), writer(3)], new RandomScheduler(5));
    expect(result.outcome).toBe('completed');
    expect(memory.words[AT.sequence / 4]).toBe(4);
  });
});

test('a mistake of a writer is an error', () => {
  drive(sequence().writeBegin());
  expect(() => drive(sequence().writeBegin())).toThrow('written by two agents at once');
  memory = sandbox();
  expect(() => drive(sequence().writeEnd())).toThrow('sequence count has no open write');
});

function* readAndWrite(): Op<void> {
  const own = sequence();
  yield* own.writeBegin();
  yield* add32(AT.counter, 1, Order.once);
  yield* own.writeEnd();
  yield* own.readRetry(yield* own.readBegin());
}

test('the order of its words is labelled', () => {
  const { recorder } = play([readAndWrite], new Scripted([]));
  expect(recorder.events.map(({ kind, extra }) => [kind, extra])).toEqual([
    ['signal', Order.full],
    ['add32', Order.once],
    ['signal', Order.release],
    ['load32', Order.acquire],
    ['load32', Order.full],
  ]);
});
