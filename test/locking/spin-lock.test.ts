import { beforeEach, describe, expect, test } from 'vitest';
import { Order, drive, load32, read32, write32, type Op } from '#port';
import type { Scheduler } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { HOLD_SAMPLE } from '../../src/locking/lock-account.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { AT, LOCK_STATISTICS, statisticsOf } from '../fixtures/threads-locking/layout.ts';
import { play, sandbox } from '../support/executions.ts';
import { countedFor } from '../support/lock-statistics.ts';

/** The word of tickets, and slots 0 and 1. */
const TICKETS = AT.lock;
const SLOT = [AT.lock + 128, AT.lock + 192] as const;

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
      const drawn = recorder.agentsOf('add32');
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
    expect(result).toEqual({ outcome: 'completed', steps: 15 });
    expect(countedFor(memory.words.buffer, 0)).toMatchObject({ acquisitions: 5, contended: 0 });
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
  test('an uncontended lock', () => {
    const { recorder } = play(contenders(2, 1).slice(0, 1), new Scripted([]));
    expect(recorder.events).toMatchObject([
      { agent: 0, kind: 'add32', at: TICKETS, old: [0, 0], now: [1, 0], extra: Order.acquire },
      { agent: 0, kind: 'load32', at: SLOT[0], old: [0, 0], now: [0, 0], extra: Order.acquire },
      { agent: 0, kind: 'lockAcquired', at: TICKETS, old: [0, 0], now: [0, 0], extra: 0 },
      { agent: 0, kind: 'lockReleased', at: TICKETS, old: [0, 0], now: [0, 0], extra: 0 },
      { agent: 0, kind: 'signal', at: SLOT[1], old: [0, 0], now: [1, 0], extra: Order.release },
    ]);
    expect(recorder.events).toHaveLength(5);
  });

  test('a contended hand-over', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 2 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ];
    const { recorder } = play(contenders(2, 1), new Scripted(script));
    expect(recorder.lines()).toEqual([
      `A add32 ${TICKETS}: 0 -> 1`,
      `A load32 ${SLOT[0]}: 0 -> 0`,
      `A lockAcquired ${TICKETS}: 0 -> 0`,
      `A lockReleased ${TICKETS}: 0 -> 0`,
      `B add32 ${TICKETS}: 1 -> 2`,
      `B load32 ${SLOT[1]}: 0 -> 0`,
      `B wait ${SLOT[1]}: 0 -> 0`,
      `A signal ${SLOT[1]}: 0 -> 1`,
      `B load32 ${SLOT[1]}: 1 -> 1`,
      `B lockAcquired ${TICKETS}: 0 -> 1`,
      `B lockReleased ${TICKETS}: 0 -> 1`,
      `B signal ${SLOT[0]}: 0 -> 2`,
    ]);
  });

  test('a hand-over between the look at the slot and the wait', () => {
    const script: ScriptLine[] = [
      { agent: 0, steps: 2 },
      { agent: 1, steps: 2 },
      { agent: 0, toEnd: true },
    ];
    const { recorder, result } = play(contenders(2, 1), new Scripted(script));
    expect(result.outcome).toBe('completed');
    expect(recorder.lines().slice(6, 9)).toEqual([
      `A signal ${SLOT[1]}: 0 -> 1`,
      `B wait ${SLOT[1]}: 0 -> 0`,
      `B load32 ${SLOT[1]}: 1 -> 1`,
    ]);
  });

  test('an unlock wakes the next in line and nobody else', () => {
    const script = new Scripted([
      { agent: 0, steps: 2 },
      { agent: 2, toEnd: true },
      { agent: 3, toEnd: true },
      { agent: 1, toEnd: true },
      { agent: 0, steps: 1 },
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

  test('tickets wrap', () => {
    const last = 0x7fff_ffff;
    memory.words[TICKETS / 4] = last;
    memory.words[SLOT[1] / 4] = last;
    const { recorder, result } = play(contenders(2, 3, increment), new RandomScheduler(3));
    expect(result.outcome).toBe('completed');
    expect(memory.words[AT.counter / 4]).toBe(6);
    expect(recorder.agentsOf('lockAcquired')).toEqual(recorder.agentsOf('add32'));
    const tickets = recorder.events.filter(({ kind }) => kind === 'lockAcquired');
    const wrapped = [0, 1, 2, 3, 4].map((more) => more - 0x8000_0000);
    expect(tickets.map(({ now }) => now[0])).toEqual([last, ...wrapped]);
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
    new Scripted([{ agent: 0, steps: 2 }, ...others, { agent: 0, toEnd: true }]),
  );
  return seen[0] as boolean;
}

describe('isContended', () => {
  test('sees who stands in line', () => {
    expect([0, 1, 3].map(seenWith)).toEqual([false, true, true]);
  });

  test('sees it across the wrap of tickets', () => {
    memory.words[TICKETS / 4] = 0x7fff_ffff;
    memory.words[(AT.lock + 128 + 3 * 64) / 4] = 0x7fff_ffff;
    expect(seenWith(0)).toBe(false);
    memory = sandbox();
    memory.words[TICKETS / 4] = 0x7fff_ffff;
    memory.words[(AT.lock + 128 + 3 * 64) / 4] = 0x7fff_ffff;
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
      { agent: 0, steps: 2 },
      { agent: 1, toEnd: true },
      { agent: 0, toEnd: true },
    ];
    play(contenders(2, 1), new Scripted(script));
    const { buffer } = memory.words;
    expect(countedFor(buffer, 0)).toEqual({
      acquisitions: 1,
      contended: 0,
      waitTotalNs: 0,
      waits: 0,
      holds: 1,
    });
    // B's wait began after its step 4, by the clock of steps, and ended with its second load, step 8.
    expect(countedFor(buffer, 1)).toEqual({
      acquisitions: 1,
      contended: 1,
      waitTotalNs: 4,
      waits: 1,
      holds: 0,
    });
    expect(memory.words[(statisticsOf(1) + LOCK_STATISTICS.waitNs) / 4 + 4]).toBe(1);
  });

  test('time one hold in so many', () => {
    play(contenders(1, 2 * HOLD_SAMPLE + 1, increment), new Scripted([]));
    const block = statisticsOf(0) + LOCK_STATISTICS.holdNs;
    expect(countedFor(memory.words.buffer, 0)).toMatchObject({ acquisitions: 33, holds: 3 });
    // Each from the load of its slot to the load inside: one step.
    expect(memory.words[block / 4 + 1]).toBe(3);
  });
});

test('the memory of a lock is a line for the tickets and a slot for each contender, rounded up', () => {
  expect([1, 2, 3, 4, 5].map((agents) => SpinLock.bytes(agents))).toEqual([
    192, 256, 384, 384, 640,
  ]);
});
