import { beforeEach, describe, expect, test } from 'vitest';
import { Order, drive, load32, read32, write32, type Op } from '#port';
import type { Scheduler } from '../../src/engine/execution.ts';
import { LockMode } from '../../src/engine/events.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { HOLD_SAMPLE } from '../../src/locking/lock-account.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { AT, LOCK_STATISTICS, statisticsOf } from '../fixtures/threads-locking/layout.ts';
import { play, sandbox, type Recorder } from '../support/executions.ts';
import { countedFor } from '../support/lock-statistics.ts';

/** The word of tickets, and slots 0 and 1. */
const TICKETS = AT.lock;
const SLOT = [AT.lock + 128, AT.lock + 256] as const;
/** What coming into line adds to the word: a ticket, and one agent in line. */
const DRAW = 65_537;

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function lockFor(agents: number): SpinLock {
  return new SpinLock(AT.lock, agents, LOCK_STATISTICS);
}

/** Agents that each take the lock `rounds` times and run `inside` under it. */
function contenders(
  agents: number,
  rounds: number,
  inside: () => Op<void> = function* () {},
): (() => Op<void>)[] {
  return Array.from({ length: agents }, () => {
    const lock = lockFor(agents);
    return function* (): Op<void> {
      for (let round = 0; round < rounds; round++) {
        yield* lock.lock();
        yield* inside();
        yield* lock.unlock();
      }
    };
  });
}

/** Agents in the order in which they came into line. */
function arrivalsOf({ events }: Recorder): number[] {
  const came = events.filter(
    ({ kind, old, now }) => kind === 'add32' && ((now[0] - old[0]) | 0) === DRAW,
  );
  return came.map(({ agent }) => agent);
}

/** Two plain accesses with a scheduling point between them. */
function* increment(): Op<void> {
  const seen = read32(AT.counter);
  yield* load32(AT.ping, Order.once);
  write32(AT.counter, seen + 1);
}

describe('under any schedule', () => {
  test('three agents exclude each other and are served in the order of their tickets', () => {
    memory.baseline();
    const arrivals = new Set<string>();
    for (let seed = 0; seed < 1000; seed++) {
      memory.restore();
      const agents = contenders(3, 2, increment);
      const { recorder, result } = play(agents, new RandomScheduler(seed));
      expect(result.outcome).toBe('completed');
      expect(memory.words[AT.counter / 4]).toBe(6);
      const drawn = arrivalsOf(recorder);
      expect(recorder.agentsOf('lockAcquired')).toEqual(drawn);
      expect(recorder.agentsOf('lockReleased')).toEqual(drawn);
      arrivals.add(drawn.slice(0, 3).join(''));
    }
    for (const arrival of ['012', '021', '102', '120', '201', '210']) {
      expect(arrivals).toContain(arrival);
    }
  });

  test('the lock is what excludes: without it counts are lost', () => {
    const agents = [increment, increment];
    play(agents, new RoundRobin());
    expect(memory.words[AT.counter / 4]).toBe(1);
  });

  test('one agent never waits', () => {
    const { result } = play(contenders(1, 5), new RandomScheduler(1));
    expect(result).toEqual({ outcome: 'completed', steps: 10 });
    expect(countedFor(memory.words.buffer, 0)).toMatchObject({ acquisitions: 5, waits: 0 });
  });

  test('an agent that does not give it back leaves the others waiting', () => {
    const locks = [lockFor(2), lockFor(2)] as const;
    const agents = locks.map((lock) => () => lock.lock());
    expect(play(agents, new RoundRobin()).result).toMatchObject({
      outcome: 'deadlock',
      detail: `B waiting on word ${SLOT[1]}`,
    });
  });
});

describe('word by word', () => {
  test('an uncontended lock: one addition on either side', () => {
    const { recorder } = play(contenders(2, 1).slice(0, 1), new Scripted([]));
    expect(recorder.events).toMatchObject([
      { kind: 'add32', at: TICKETS, old: [0, 0], now: [DRAW, 0], extra: Order.acquire },
      { kind: 'lockAcquired', at: TICKETS, now: [0, LockMode.exclusive] },
      { kind: 'lockReleased', at: TICKETS, now: [0, LockMode.exclusive] },
      { kind: 'add32', at: TICKETS, old: [DRAW, 0], now: [DRAW - 1, 0], extra: Order.release },
    ]);
    expect(recorder.events).toHaveLength(4);
  });

  test('a contended hand-over', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 1 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ];
    const { recorder } = play(contenders(2, 1), new Scripted(script));
    expect(recorder.lines()).toEqual([
      `A add32 ${TICKETS}: 0 -> ${DRAW}`,
      `A lockAcquired ${TICKETS}: 0 -> 0`,
      `A lockReleased ${TICKETS}: 0 -> 0`,
      `B add32 ${TICKETS}: ${DRAW} -> ${2 * DRAW}`,
      `B wait ${SLOT[1]}: 0 -> 0`,
      `A add32 ${TICKETS}: ${2 * DRAW} -> ${2 * DRAW - 1}`,
      `A signal ${SLOT[1]}: 0 -> 1`,
      `B load32 ${SLOT[1]}: 1 -> 1`,
      `B signal ${SLOT[1]}: 1 -> 0`,
      `B lockAcquired ${TICKETS}: 0 -> 1`,
      `B lockReleased ${TICKETS}: 0 -> 1`,
      `B add32 ${TICKETS}: ${2 * DRAW - 1} -> ${2 * DRAW - 2}`,
    ]);
  });

  test('a hand-over between the ticket and the wait', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 1 },
      { agent: 1, steps: 1 },
      { agent: 0, toEnd: true },
    ];
    const { recorder, result } = play(contenders(2, 1), new Scripted(script));
    expect(result.outcome).toBe('completed');
    expect(recorder.lines().slice(5, 9)).toEqual([
      `A signal ${SLOT[1]}: 0 -> 1`,
      `B wait ${SLOT[1]}: 0 -> 0`,
      `B load32 ${SLOT[1]}: 1 -> 1`,
      `B signal ${SLOT[1]}: 1 -> 0`,
    ]);
  });

  test('who comes between the two steps of an unlock that nobody waited for goes in at once', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 2 },
      { agent: 1, toEnd: true },
    ];
    const { recorder } = play(contenders(2, 1), new Scripted(script));
    expect(recorder.agentsOf('wait')).toEqual([]);
    expect(recorder.agentsOf('lockAcquired')).toEqual([0, 1]);
  });

  test('an unlock wakes the next in line and nobody else', () => {
    const script = new Scripted([
      { agent: 0, steps: 1 },
      { agent: 2, toEnd: true },
      { agent: 3, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
      { agent: 2, toEnd: true },
      { agent: 3, toEnd: true },
    ]);
    const runnable: string[] = [];
    const scheduler: Scheduler = {
      next(view) {
        const now = view.runnable.join('');
        if (runnable.at(-1) !== now) runnable.push(now);
        return script.next(view);
      },
      choose: () => 0,
    };
    expect(play(contenders(4, 1), scheduler).result.outcome).toBe('completed');
    expect(runnable).toEqual(['0123', '013', '01', '0', '2', '3', '1']);
  });

  test('tickets wrap, and a slot that was granted before is waited at again', () => {
    memory.words[TICKETS / 4] = 0xfffe_0000;
    const { recorder, result } = play(contenders(2, 3, increment), new RandomScheduler(3));
    expect(result.outcome).toBe('completed');
    expect(memory.words[AT.counter / 4]).toBe(6);
    expect(recorder.agentsOf('lockAcquired')).toEqual(arrivalsOf(recorder));
    expect(new Set(recorder.agentsOf('wait'))).toEqual(new Set([0, 1]));
    const tickets = recorder.events.filter(({ kind }) => kind === 'lockAcquired');
    expect(tickets.map(({ now }) => now[0])).toEqual([0xfffe, 0xffff, 0, 1, 2, 3]);
    expect(memory.words[TICKETS / 4]).toBe(4 << 16);
  });
});

/** What agent 0 sees under the lock after others have drawn tickets. */
function seenWith(drawn: number): boolean {
  const seen: boolean[] = [];
  const lock = lockFor(4);
  const holder = function* (): Op<void> {
    yield* lock.lock();
    seen.push(yield* lock.isContended());
    yield* lock.unlock();
  };
  const others = Array.from({ length: drawn }, (_, id): ScriptLine => {
    return { agent: id + 1, toEnd: true };
  });
  play(
    [holder, ...contenders(4, 1).slice(1)],
    new Scripted([{ agent: 0, steps: 1 }, ...others, { agent: 0, toEnd: true }]),
  );
  return seen[0] as boolean;
}

describe('isContended', () => {
  test('sees who stands in line', () => {
    expect([0, 1, 3].map(seenWith)).toEqual([false, true, true]);
  });

  test('sees it across the wrap of tickets', () => {
    memory.words[TICKETS / 4] = 0xffff_0000;
    expect(seenWith(0)).toBe(false);
    memory = sandbox();
    memory.words[TICKETS / 4] = 0xffff_0000;
    expect(seenWith(1)).toBe(true);
  });
});

describe('a mistake of the holder', () => {
  const heldNot = 'spin lock is not held by this agent';

  test('is an error: taken twice', () => {
    const lock = lockFor(2);
    drive(lock.lock());
    expect(() => drive(lock.lock())).toThrow('spin lock taken twice by one agent');
    drive(lock.unlock());
    drive(lock.lock());
  });

  test('is an error: used without being held', () => {
    const lock = lockFor(2);
    expect(() => lock.assertHeld()).toThrow(heldNot);
    expect(() => drive(lock.unlock())).toThrow(heldNot);
    expect(() => drive(lock.isContended())).toThrow(heldNot);
    drive(lock.lock());
    lock.assertHeld();
    drive(lock.unlock());
    expect(() => drive(lock.unlock())).toThrow(heldNot);
  });

  test('is an error: given back by another agent', () => {
    const [holder, other] = [lockFor(2), lockFor(2)];
    drive(holder.lock());
    expect(() => drive(other.unlock())).toThrow(heldNot);
  });
});

describe('statistics', () => {
  test('count and time what happened', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 1 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ];
    play(contenders(2, 1), new Scripted(script));
    const { buffer } = memory.words;
    const one = { acquisitions: 1, releases: 1, holds: 1 };
    expect(countedFor(buffer, 0)).toMatchObject({
      ...one,
      waitTotalNs: 0,
      contentions: 0,
      waits: 0,
    });
    // B's wait began after its step 2, by the clock of steps, and ended when it made its slot ready, step 8.
    expect(countedFor(buffer, 1)).toMatchObject({
      ...one,
      waitTotalNs: 6,
      contentions: 1,
      waits: 1,
    });
    expect(memory.words[(statisticsOf(1) + LOCK_STATISTICS.waitNs) / 4 + 6]).toBe(1);
  });

  test('time one hold in so many, the first one included', () => {
    play(contenders(1, 2 * HOLD_SAMPLE + 1, increment), new Scripted([]));
    const block = statisticsOf(0) + LOCK_STATISTICS.holdNs;
    const counted = { acquisitions: 2 * HOLD_SAMPLE + 1, holds: 3, holdTotalNs: 3 };
    expect(countedFor(memory.words.buffer, 0)).toMatchObject(counted);
    // Each from the addition that took the lock to the load inside: one step.
    expect(memory.words[block / 4 + 1]).toBe(3);
  });

  test('tell what an agent holds, and what it waits for', () => {
    const locks = [lockFor(2), lockFor(2)];
    play(
      locks.map((lock) => () => lock.lock()),
      new RoundRobin(),
    );
    const { buffer } = memory.words;
    expect(countedFor(buffer, 0)).toMatchObject({ acquisitions: 1, releases: 0, contentions: 0 });
    expect(countedFor(buffer, 1)).toMatchObject({ acquisitions: 0, contentions: 1, waits: 0 });
  });
});

test('the memory of a lock is a line for the tickets and one for each contender, rounded up', () => {
  expect([1, 2, 3, 4, 5].map((agents) => SpinLock.bytes(agents))).toEqual([
    256, 384, 640, 640, 1152,
  ]);
});
