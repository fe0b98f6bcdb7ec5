import { beforeEach, describe, expect, test } from 'vitest';
import { Order, drive, load32, type Op } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { Srcu } from '../../src/locking/srcu.ts';
import { follow, replace } from '../fixtures/threads-locking/agents.ts';
import { AT, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { disturb, play, sandbox } from '../support/executions.ts';
import { countedFor } from '../support/lock-statistics.ts';

const AGENTS = 4;
const INDEX = AT.lock;

/** An agent's flag under an index. */
function flag(agent: number, index: number): number {
  return AT.lock + 128 * (1 + agent) + 8 * index;
}

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function srcuOf(agent: number): Srcu {
  return new Srcu({ at: AT.lock, agents: AGENTS, agent, statistics: READ_WRITE_STATISTICS });
}

/** Follows the pointers at `pointers`, one after the other. */
function reader(agent: number, rounds: number, pointers: readonly number[]): () => Op<void> {
  const srcu = srcuOf(agent);
  return function* (): Op<void> {
    for (let round = 0; round < rounds; round++) {
      for (const pointer of pointers) {
        if ((yield* follow(srcu, pointer, 1)) > 0) throw new Error('freed under a reader');
      }
    }
  };
}

function updater(agent: number, rounds: number, pointer: number): () => Op<void> {
  const srcu = srcuOf(agent);
  return () => replace(srcu, pointer, rounds);
}

describe('under any schedule', () => {
  test('nothing is freed under a reader; two updaters', () => {
    const [first, second] = [AT.counter, AT.counter + 64];
    memory.baseline();
    for (let seed = 0; seed < 2000; seed++) {
      memory.restore();
      const agents = [
        reader(0, 2, [first, second]),
        reader(1, 2, [second, first]),
        updater(2, 3, first),
        updater(3, 3, second),
      ];
      const { result } = play(agents, new RandomScheduler(seed));
      expect(result).toMatchObject({ outcome: 'completed' });
      expect(memory.words[INDEX / 4]).toBe(0);
    }
  });

  test('the grace period is what protects', () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      memory = sandbox();
      const srcu = srcuOf(1);
      srcu.synchronize = function* (): Op<void> {};
      const agents = [reader(0, 2, [AT.counter]), () => replace(srcu, AT.counter, 3)];
      outcomes.add(play(agents, new RandomScheduler(seed)).result.outcome);
    }
    expect(Array.from(outcomes).toSorted()).toEqual(['completed', 'threw']);
  });
});

/** A read section whose middle is a load of `mark`. */
function section(agent: number, mark: number): () => Op<void> {
  const srcu = srcuOf(agent);
  return function* (): Op<void> {
    yield* srcu.readLock();
    yield* load32(mark, Order.once);
    yield* srcu.readUnlock();
  };
}

function synchronizer(agent: number, rounds: number): () => Op<void> {
  const srcu = srcuOf(agent);
  return function* (): Op<void> {
    for (let round = 0; round < rounds; round++) yield* srcu.synchronize();
  };
}

function to(agent: number, kind: EventKind, at: number): ScriptLine {
  return { agent, until: (pending) => pending.kind === kind && pending.at === at };
}

describe('word by word', () => {
  test('a read section is a load and two stores on a line of its own', () => {
    const { recorder } = play([section(0, AT.ping)], new Scripted([]));
    expect(recorder.events.map(({ kind, at, now, extra }) => [kind, at, now[0], extra])).toEqual([
      ['load32', INDEX, 0, Order.once],
      ['signal', flag(0, 0), 1, Order.full],
      ['lockAcquired', INDEX, 0, 0],
      ['load32', AT.ping, 0, Order.once],
      ['lockReleased', INDEX, 0, 0],
      ['signal', flag(0, 0), 0, Order.release],
    ]);
  });

  test('a grace period looks under the idle index, turns, and looks under the old one', () => {
    const { recorder } = play([synchronizer(0, 1)], new Scripted([]));
    const agents = [0, 1, 2, 3];
    const operations = recorder.events.filter(({ kind }) => !kind.startsWith('lock'));
    expect(operations.slice(1, -1).map(({ kind, at, extra }) => [kind, at, extra])).toEqual([
      ['barrier', 0, 0],
      ['load32', INDEX, Order.once],
      ...agents.map((agent) => ['load32', flag(agent, 1), Order.acquire]),
      ['store32', INDEX, Order.full],
      ...agents.map((agent) => ['load32', flag(agent, 0), Order.acquire]),
    ]);
    expect(memory.words[INDEX / 4]).toBe(1);
  });

  test('sections that begin after the turn do not delay it, however long', () => {
    const script = new Scripted([
      to(0, EventKind.load32, AT.ping),
      { agent: 2, toEnd: true },
      to(1, EventKind.load32, AT.pong),
      { agent: 0, toEnd: true },
      { agent: 2, toEnd: true },
    ]);
    const agents = [section(0, AT.ping), section(1, AT.pong), synchronizer(2, 1)];
    const { recorder, result } = play(agents, script);
    expect(result.outcome).toBe('completed');
    const ends = recorder.lines().filter((line) => /signal|wait|Released/.test(line));
    expect(ends).toEqual([
      `A signal ${flag(0, 0)}: 0 -> 1`,
      `C wait ${flag(0, 0)}: 1 -> 1`,
      `B signal ${flag(1, 1)}: 0 -> 1`,
      `A lockReleased ${INDEX}: 0 -> 0`,
      `A signal ${flag(0, 0)}: 1 -> 0`,
      `C lockReleased ${INDEX}: 0 -> 0`,
      `B lockReleased ${INDEX}: 0 -> 0`,
      `B signal ${flag(1, 1)}: 1 -> 0`,
    ]);
  });

  test('a section ends between the look and the wait', () => {
    const script = new Scripted([
      to(0, EventKind.load32, AT.ping),
      to(1, EventKind.wait, flag(0, 0)),
      { agent: 0, toEnd: true },
    ]);
    const { result } = play([section(0, AT.ping), synchronizer(1, 1)], script);
    expect(result.outcome).toBe('completed');
  });

  test('a wake-up for nothing does not end it', () => {
    const script = new Scripted([
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
      { agent: 2, steps: 1 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const agents = [section(0, AT.ping), synchronizer(1, 1), () => disturb([flag(0, 0)])];
    const { recorder, result } = play(agents, script);
    expect(result.outcome).toBe('completed');
    expect(recorder.agentsOf('wait')).toEqual([1, 1]);
  });

  test('a reader that is late with its flag is waited for by the next grace period', () => {
    const script = new Scripted([
      { agent: 0, steps: 1 },
      // The first grace period ends: it found no flag under 0.
      { agent: 1, steps: 1 },
      { agent: 1, until: ({ kind }) => kind === EventKind.add32 },
      { agent: 1, steps: 1 },
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ]);
    const { recorder, result } = play([section(0, AT.ping), synchronizer(1, 2)], script);
    expect(result.outcome).toBe('completed');
    expect(recorder.lines()).toContain(`B wait ${flag(0, 0)}: 1 -> 1`);
  });

  test('it waits for two sections of an agent at most', () => {
    const srcu = srcuOf(0);
    const many = function* (): Op<void> {
      for (let round = 0; round < 5; round++) {
        yield* srcu.readLock();
        yield* load32(AT.ping, Order.once);
        yield* srcu.readUnlock();
      }
    };
    const late: ScriptLine[] = [
      { agent: 0, steps: 1 },
      { agent: 1, steps: 1 },
      { agent: 1, until: ({ kind }) => kind === EventKind.add32 },
      { agent: 1, steps: 1 },
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
      // Waits for the late one; another one begins under the other index before the turn.
      { agent: 0, steps: 2 },
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
      { agent: 0, steps: 2 },
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
    ];
    const { recorder, result } = play([many, synchronizer(1, 2)], new Scripted(late));
    expect(result.outcome).toBe('completed');
    const waits = recorder.lines().filter((line) => line.startsWith('B wait'));
    expect(waits).toEqual([`B wait ${flag(0, 0)}: 1 -> 1`, `B wait ${flag(0, 1)}: 1 -> 1`]);
    // The third section was open when it returned.
    const last = recorder.events.findLast(({ agent }) => agent === 1)?.sequence as number;
    const closed = recorder.events.filter(({ agent, kind, sequence }) => {
      return agent === 0 && kind === 'lockReleased' && sequence < last;
    });
    expect(closed).toHaveLength(2);
  });

  test('sections nest, and others see the outermost only', () => {
    const srcu = srcuOf(0);
    const nested = function* (): Op<void> {
      yield* srcu.readLock();
      yield* srcu.readLock();
      yield* srcu.readUnlock();
      srcu.assertHeld();
      yield* load32(AT.ping, Order.once);
      yield* srcu.readUnlock();
    };
    const { recorder } = play([nested], new Scripted([]));
    expect(recorder.events.map(({ kind }) => kind)).toEqual([
      'load32',
      'signal',
      'lockAcquired',
      'load32',
      'lockReleased',
      'signal',
    ]);
    expect(() => srcu.assertHeld()).toThrow('SRCU read section is not open');
  });
});

test('a mistake of an agent is an error', () => {
  const srcu = srcuOf(0);
  expect(() => drive(srcu.readUnlock())).toThrow('SRCU read section is not open');
  drive(srcu.readLock());
  expect(() => drive(srcu.synchronize())).toThrow('SRCU read section is open');
});

test('statistics keep sections and grace periods apart', () => {
  const script = new Scripted([
    to(0, EventKind.load32, AT.ping),
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  play([section(0, AT.ping), synchronizer(1, 1)], script);
  const { read, write } = READ_WRITE_STATISTICS;
  const { buffer } = memory.words;
  expect(countedFor(buffer, 0, read)).toMatchObject({ acquisitions: 1, waits: 0, holds: 1 });
  expect(countedFor(buffer, 1, read)).toMatchObject({ acquisitions: 0 });
  expect(countedFor(buffer, 1, write)).toMatchObject({
    acquisitions: 1,
    releases: 1,
    waits: 1,
    holds: 0,
  });
});

test('the memory of a domain is a line, a line for each agent, and a queue', () => {
  expect([1, 2, 3].map((agents) => Srcu.bytes(agents))).toEqual([512, 768, 1152]);
});
