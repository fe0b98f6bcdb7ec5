/** What a mutex does as a spin lock does is tested in spin-lock.test.ts: here is what concerns it alone, and the bound of both. */
import { beforeEach, expect, test } from 'vitest';
import { Order, drive, load32, signal32, wait, type Op } from '#port';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { Mutex } from '../../src/locking/mutex.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { countUnder } from '../fixtures/threads-locking/agents.ts';
import { AT, LOCK_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { disturb, play, sandbox, type Recorded } from '../support/executions.ts';

const SLOTS = [0, 1, 2, 3].map((slot) => AT.lock + 128 + slot * 128);

let memory: ExploreMemory;
beforeEach(() => {
  memory = sandbox();
});

function mutexFor(agents: number): Mutex {
  return new Mutex(AT.lock, agents, LOCK_STATISTICS);
}

/** How often others got the lock while an agent stood in line, once for each turn. */
function overtakings(events: readonly Recorded[], agents: number): number[] {
  const others: number[] = [];
  const inLine = new Map<number, number>();
  for (const { agent, kind, old, now } of events) {
    if (kind === 'add32' && now[0] - old[0] > 0) inLine.set(agent, 0);
    if (kind !== 'lockAcquired') continue;
    others.push(inLine.get(agent) as number);
    inLine.delete(agent);
    for (let id = 0; id < agents; id++) {
      const before = inLine.get(id);
      if (before !== undefined) inLine.set(id, before + 1);
    }
  }
  return others;
}

test.each([2, 3, 4])('each of %i agents waits for every other at most once', (agents) => {
  memory.baseline();
  let most = 0;
  for (let seed = 0; seed < 300; seed++) {
    memory.restore();
    const contenders = Array.from({ length: agents }, () => {
      const lock = mutexFor(agents);
      return () => countUnder(lock, AT.counter, 3);
    });
    const run = [...contenders, () => disturb(SLOTS)];
    const { recorder, result } = play(run, new RandomScheduler(seed));
    expect(result.outcome).toBe('completed');
    expect(memory.words[AT.counter / 4]).toBe(agents * 3);
    most = Math.max(most, ...overtakings(recorder.events, agents));
  }
  expect(most).toBe(agents - 1);
});

test('a holder may sleep', () => {
  const [holder, other] = [mutexFor(2), mutexFor(2)];
  const sleeper = function* (): Op<void> {
    yield* holder.lock();
    while ((yield* load32(AT.ping, Order.acquire)) === 0) yield* wait(AT.ping, 0);
    yield* holder.unlock();
  };
  const waker = function* (): Op<void> {
    yield* signal32(AT.ping, 1, Order.release);
    yield* other.lock();
    yield* other.unlock();
  };
  const script = new Scripted([
    { agent: 0, toEnd: true },
    { agent: 1, toEnd: true },
  ]);
  const { recorder, result } = play([sleeper, waker], script);
  expect(result.outcome).toBe('completed');
  expect(recorder.agentsOf('lockAcquired')).toEqual([0, 1]);
});

test('a mistake of its holder names it', () => {
  const lock = mutexFor(2);
  expect(() => lock.assertHeld()).toThrow('mutex is not held by this agent');
  drive(lock.lock());
  expect(() => drive(lock.lock())).toThrow('mutex taken twice by one agent');
});

test('one kind is not taken for the other', () => {
  // @ts-expect-error: a holder of what is asked for here may sleep.
  const asMutex: Mutex = new SpinLock(AT.lock, 2, LOCK_STATISTICS);
  expect(asMutex.kind).toBe('spin lock');
});
