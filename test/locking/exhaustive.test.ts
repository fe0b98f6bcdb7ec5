/** Every trace of a few agents on each lock: exclusion, and no lost wake-up, which would be a deadlock. Fewer traces than before is a finding. */
import { describe, expect, test } from 'vitest';
import { Order, add32, load32, store32, type Op, type Word } from '#port';
import { Dpor } from '../../src/explore/dpor.ts';
import { WHOLE } from '../../src/explore/prefix.ts';
import { Rcu } from '../../src/locking/rcu.ts';
import { RwLock } from '../../src/locking/rw-lock.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { Srcu } from '../../src/locking/srcu.ts';
import { exploreAll, subjectOf } from '../explore/subjects.ts';
import { AT, LOCK_STATISTICS, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';

type Program = () => Op<void>;

const INSIDE: Word = AT.counter;
const WRITER = 1000;
const BYTES = 0x8000;

/** Explores to the end; every execution has to complete. Gives the number of traces. */
function tracesOf(programs: readonly Program[], servers: readonly number[] = []): number {
  const subject = subjectOf(programs, { bytes: BYTES, servers });
  const { explorer, stopped } = exploreAll(subject, (all) => new Dpor(all, WHOLE));
  expect(stopped).toBe('exhausted');
  expect(Array.from(explorer.failures.values())).toEqual([]);
  return explorer.traces.size;
}

/** Comes in, if nobody is there that may not be, and leaves. */
function* visit(weight: number, others: number): Op<void> {
  const before = yield* add32(INSIDE, weight, Order.once);
  if (before > others) throw new Error('not alone');
  yield* add32(INSIDE, -weight, Order.once);
}

function spinner(agents: number, rounds: number): Program {
  return function* (): Op<void> {
    const lock = new SpinLock(AT.lock, agents, LOCK_STATISTICS);
    for (let round = 0; round < rounds; round++) {
      yield* lock.lock();
      yield* visit(WRITER, 0);
      yield* lock.unlock();
    }
  };
}

function reader(agents: number, rounds: number): Program {
  return function* (): Op<void> {
    const lock = new RwLock(AT.lock, agents, READ_WRITE_STATISTICS);
    for (let round = 0; round < rounds; round++) {
      yield* lock.readLock();
      yield* visit(1, WRITER - 1);
      yield* lock.readUnlock();
    }
  };
}

function writer(agents: number, rounds: number): Program {
  return function* (): Op<void> {
    const lock = new RwLock(AT.lock, agents, READ_WRITE_STATISTICS);
    for (let round = 0; round < rounds; round++) {
      yield* lock.writeLock();
      yield* visit(WRITER, 0);
      yield* lock.writeUnlock();
    }
  };
}

describe('a spin lock', () => {
  test.each([
    [2, 1, 4],
    [2, 2, 28],
    [3, 1, 30],
    [3, 2, 2898],
    [4, 1, 336],
  ])('%i agents, %i rounds each', { timeout: 60_000 }, (agents, rounds, traces) => {
    const programs = Array.from({ length: agents }, () => spinner(agents, rounds));
    expect(tracesOf(programs)).toBe(traces);
  });
});

describe('a reader-writer lock', () => {
  test.each([
    ['a reader and a writer, twice each', [reader(2, 2), writer(2, 2)], 157],
    ['two writers, twice each', [writer(2, 2), writer(2, 2)], 46],
    ['two readers and a writer', [reader(3, 1), reader(3, 1), writer(3, 1)], 276],
    ['a reader and two writers', [reader(3, 1), writer(3, 1), writer(3, 1)], 106],
    ['three writers', [writer(3, 1), writer(3, 1), writer(3, 1)], 60],
    [
      'two readers and two writers',
      [reader(4, 1), reader(4, 1), writer(4, 1), writer(4, 1)],
      16376,
    ],
  ])('%s', { timeout: 60_000 }, (_, programs, traces) => {
    expect(tracesOf(programs)).toBe(traces);
  });
});

/** A pointer to object 0 or 1; an object holds 1 once it is freed. */
const POINTER: Word = AT.counter;
const objectAt = (object: number): Word => AT.counter + 8 + object * 8;

function* follow(domain: Srcu | Rcu): Op<void> {
  yield* domain.readLock();
  const object = yield* load32(POINTER, Order.acquire);
  if ((yield* load32(objectAt(object), Order.once)) !== 0) throw new Error('freed under a reader');
  yield* domain.readUnlock();
}

const optionsFor = (agents: number, agent: number): ConstructorParameters<typeof Srcu>[0] => {
  return { at: AT.lock, agents, agent, statistics: READ_WRITE_STATISTICS };
};

describe('a grace period', () => {
  test.each([
    ['SRCU', Srcu, 36],
    ['RCU', Rcu, 25],
  ])('of %s: two readers and an updater', (_, Domain, traces) => {
    const programs = [0, 1, 2].map((agent): Program => {
      return function* (): Op<void> {
        const domain = new Domain(optionsFor(3, agent));
        if (agent < 2) yield* follow(domain);
        else {
          yield* store32(POINTER, 1, Order.release);
          yield* domain.synchronize();
          yield* store32(objectAt(0), 1, Order.once);
        }
      };
    });
    expect(tracesOf(programs)).toBe(traces);
  });

  test('before a record is reclaimed by a daemon', () => {
    const freeing = {
      *reclaim(head: Word): Op<void> {
        yield* store32(head - 4, 1, Order.once);
      },
    };
    const programs = [0, 1, 2].map((agent): Program => {
      return function* (): Op<void> {
        const rcu = new Rcu(optionsFor(3, agent));
        if (agent === 0) yield* follow(rcu);
        else if (agent === 2) yield* rcu.reclaimUntilRetired(freeing);
        else {
          yield* store32(POINTER, 1, Order.release);
          yield* rcu.call(objectAt(0) + 4);
          yield* rcu.barrier();
        }
      };
    });
    expect(tracesOf(programs, [2])).toBe(10);
  });
});
