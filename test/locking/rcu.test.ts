import { beforeEach, describe, expect, test } from 'vitest';
import { Order, drive, load32, type Op } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { Scheduler } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { Rcu } from '../../src/locking/rcu.ts';
import { Freeing, followRcu, replaceLater } from '../fixtures/threads-locking/agents.ts';
import { AT, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { Recorder, disturb, execute, play, sandbox } from '../support/executions.ts';
import { countedFor } from '../support/lock-statistics.ts';

const AGENTS = 4;
const NEWEST = AT.lock;
const CALLED = AT.lock + 128;
const QUEUED = AT.lock + 256;
const RECLAIMED = AT.lock + 384;
const sectionsOf = (agent: number): number => AT.lock + 512 + agent * 128;
/** Records of four bytes, somewhere. */
const RECORD = [AT.ping, AT.pong] as const;

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function rcuOf(agent: number): Rcu {
  return new Rcu({ at: AT.lock, agents: AGENTS, agent, statistics: READ_WRITE_STATISTICS });
}

function reader(agent: number, rounds: number): () => Op<void> {
  const rcu = rcuOf(agent);
  return function* (): Op<void> {
    if ((yield* followRcu(rcu, AT.counter, rounds)) > 0) throw new Error('freed under a reader');
  };
}

function daemon(rcu: Rcu, freeing: Freeing = new Freeing()): () => Op<void> {
  return () => rcu.reclaimUntilRetired(freeing);
}

/** Readers 0 and 1, an updater, a daemon, and one that wakes for nothing. */
function crew(daemonRcu: Rcu, freeing?: Freeing): (() => Op<void>)[] {
  const rcu = rcuOf(2);
  return [
    reader(0, 4),
    reader(1, 4),
    () => replaceLater(rcu, AT.counter, 5),
    daemon(daemonRcu, freeing),
    () => disturb([QUEUED, RECLAIMED, sectionsOf(0)]),
  ];
}

describe('under any schedule', () => {
  test('nothing is freed under a reader, and everything in the end', () => {
    memory.baseline();
    for (let seed = 0; seed < 2000; seed++) {
      memory.restore();
      const freeing = new Freeing();
      const agents = crew(rcuOf(3), freeing);
      const result = execute({ agents, servers: [3], scheduler: new RandomScheduler(seed) });
      expect(result).toMatchObject({ outcome: 'completed' });
      expect(freeing.freed).toBe(5);
    }
  });

  test('the grace period is what protects', () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      memory = sandbox();
      const hasty = rcuOf(3);
      hasty.synchronize = function* (): Op<void> {};
      const agents = crew(hasty);
      const { outcome } = execute({ agents, servers: [3], scheduler: new RandomScheduler(seed) });
      outcomes.add(outcome);
    }
    expect(Array.from(outcomes).toSorted()).toEqual(['completed', 'threw']);
  });

  test('two agents that put off at once lose no record', () => {
    memory.baseline();
    for (let seed = 0; seed < 1000; seed++) {
      memory.restore();
      const freeing = new Freeing();
      const puts = [0, 1].map((agent) => {
        const rcu = rcuOf(agent);
        return function* (): Op<void> {
          yield* rcu.call(RECORD[agent] as number);
          yield* rcu.barrier();
          const isFreed = yield* load32((RECORD[agent] as number) + 4, Order.once);
          if (isFreed !== 1) throw new Error('the barrier came back before the free');
        };
      });
      const agents = [...puts, daemon(rcuOf(2), freeing)];
      const result = execute({ agents, servers: [2], scheduler: new RandomScheduler(seed) });
      expect(result).toMatchObject({ outcome: 'completed' });
      expect(freeing.freed).toBe(2);
    }
  });
});

/** A read section whose middle is a load of `mark`. */
function section(agent: number, mark: number, rounds: number = 1): () => Op<void> {
  const rcu = rcuOf(agent);
  return function* (): Op<void> {
    for (let round = 0; round < rounds; round++) {
      yield* rcu.readLock();
      yield* load32(mark, Order.once);
      yield* rcu.readUnlock();
    }
  };
}

function to(agent: number, kind: EventKind, at: number): ScriptLine {
  return { agent, until: (pending) => pending.kind === kind && pending.at === at };
}

describe('word by word', () => {
  test('a read section is two additions on a line of its own', () => {
    const { recorder } = play([section(0, AT.ping)], new Scripted([]));
    expect(recorder.events.map(({ kind, at, now, extra }) => [kind, at, now[0], extra])).toEqual([
      ['signal', sectionsOf(0), 1, Order.full],
      ['lockAcquired', NEWEST, 0, 0],
      ['load32', AT.ping, 0, Order.once],
      ['lockReleased', NEWEST, 0, 0],
      ['signal', sectionsOf(0), 2, Order.release],
    ]);
  });

  test('a grace period waits for the section that was open, not for the next one', () => {
    const script = new Scripted([
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
      { agent: 0, steps: 2 },
      to(0, EventKind.load32, AT.ping),
      { agent: 1, toEnd: true },
    ]);
    const rcu = rcuOf(1);
    const { recorder, result } = play([section(0, AT.ping, 2), () => rcu.synchronize()], script);
    expect(result.outcome).toBe('completed');
    const waits = recorder.lines().filter((line) => line.startsWith('B wait'));
    expect(waits).toEqual([`B wait ${sectionsOf(0)}: 1 -> 1`]);
    const last = recorder.events.findLast(({ agent }) => agent === 1)?.sequence as number;
    const ended = recorder.events.filter(
      ({ agent, kind, sequence }) => agent === 0 && kind === 'lockReleased' && sequence < last,
    );
    expect(ended).toHaveLength(1);
  });

  test('records are linked newest first, through the objects themselves', () => {
    const rcu = rcuOf(0);
    for (const record of RECORD) drive(rcu.call(record));
    const words = [NEWEST, RECORD[1], RECORD[0], CALLED, QUEUED, RECLAIMED];
    expect(words.map((at) => memory.words[at / 4])).toEqual([RECORD[1], RECORD[0], 0, 2, 2, 0]);
  });

  test('a record that is queued between the look at the list and the sleep is not slept on', () => {
    const rcu = rcuOf(0);
    const put = function* (): Op<void> {
      yield* rcu.call(RECORD[0]);
      yield* load32(AT.counter, Order.once);
      yield* rcu.call(RECORD[1]);
    };
    const script = new Scripted([
      to(0, EventKind.load32, AT.counter),
      to(1, EventKind.signal, RECLAIMED),
      to(1, EventKind.wait, QUEUED),
      { agent: 0, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    const freeing = new Freeing();
    const agents = [put, daemon(rcuOf(1), freeing)];
    const result = execute({ agents, servers: [1], scheduler: script });
    expect(result.outcome).toBe('completed');
    expect(freeing.freed).toBe(2);
  });

  test('a daemon takes no step while nothing is put off, a second one neither for what the first has seen', () => {
    const put = function* (): Op<void> {
      yield* rcuOf(0).call(RECORD[0]);
    };
    const first = [put, daemon(rcuOf(1))];
    execute({ agents: first, servers: [1], scheduler: new RoundRobin() });
    const recorder = new Recorder();
    const sinks = [recorder];
    const second = [section(0, AT.ping), daemon(rcuOf(1))];
    execute({ agents: second, servers: [1], scheduler: new RoundRobin(), sinks });
    const own = recorder.events.filter(({ agent }) => agent === 1);
    expect(own.map(({ kind, at }) => [kind, at])).toEqual([
      ['read32', RECLAIMED],
      ['wait', QUEUED],
    ]);
  });

  test('a daemon that is retired reclaims what is left, and ends', () => {
    const rcu = rcuOf(0);
    const putAndRetire = function* (): Op<void> {
      for (const record of RECORD) yield* rcu.call(record);
      yield* rcu.retire();
    };
    for (let seed = 0; seed < 200; seed++) {
      memory = sandbox();
      const freeing = new Freeing();
      const agents = [putAndRetire, daemon(rcuOf(1), freeing)];
      const result = execute({ agents, scheduler: new RandomScheduler(seed) });
      expect(result.outcome).toBe('completed');
      expect(freeing.freed).toBe(2);
    }
  });

  test('sections nest, and others see the outermost only', () => {
    const rcu = rcuOf(0);
    const nested = function* (): Op<void> {
      yield* rcu.readLock();
      yield* rcu.readLock();
      yield* rcu.readUnlock();
      rcu.assertHeld();
      yield* rcu.readUnlock();
    };
    const { recorder } = play([nested], new Scripted([]));
    expect(recorder.agentsOf('signal')).toHaveLength(2);
    rcu.assertQuiescent();
  });
});

/** Three grace periods among readers that never pause. */
function amongReaders(scheduler: Scheduler, stepsMax: number): string {
  memory = sandbox();
  const rcu = rcuOf(0);
  const agents = [
    function* (): Op<void> {
      for (let round = 0; round < 3; round++) yield* rcu.synchronize();
    },
    ...[1, 2, 3].map((agent) => section(agent, AT.ping, 100_000)),
  ];
  return execute({ agents, daemons: [1, 2, 3], scheduler, stepsMax }).outcome;
}

test('a grace period among readers that never pause ends', () => {
  for (let seed = 0; seed < 100; seed++)
    expect(amongReaders(new RandomScheduler(seed), 600)).toBe('completed');
  expect(amongReaders(new RoundRobin(), 150)).toBe('completed');
});

test('a mistake of an agent is an error', () => {
  const rcu = rcuOf(0);
  expect(() => drive(rcu.readUnlock())).toThrow('RCU read section is not open');
  expect(() => rcu.assertHeld()).toThrow('RCU read section is not open');
  drive(rcu.readLock());
  for (const mistake of [() => drive(rcu.synchronize()), () => drive(rcu.barrier())]) {
    expect(mistake).toThrow('RCU read section is open');
  }
  expect(() => rcu.assertQuiescent()).toThrow('RCU read section is open');
});

test('statistics keep sections and grace periods apart', () => {
  const script = new Scripted([
    to(0, EventKind.load32, AT.ping),
    { agent: 1, toEnd: true },
    { agent: 0, toEnd: true },
  ]);
  const rcu = rcuOf(1);
  play([section(0, AT.ping), () => rcu.synchronize()], script);
  const { read, write } = READ_WRITE_STATISTICS;
  const { buffer } = memory.words;
  const one = { acquisitions: 1, releases: 1 };
  expect(countedFor(buffer, 0, read)).toMatchObject({ ...one, waits: 0, holds: 1 });
  expect(countedFor(buffer, 1, write)).toMatchObject({ ...one, waits: 1, holds: 0 });
});

test('the memory of a domain is four lines and one for each agent', () => {
  expect([1, 2, 3].map((agents) => Rcu.bytes(agents))).toEqual([640, 768, 896]);
});
