/** Good and bad use of locks come in pairs: what is found is exactly the verdict of the bad one. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Order, load32, type Op, type Word } from '#port';
import { RoundRobin } from '../../src/explore/round-robin.ts';
import { LockChecker, type LockFinding } from '../../src/locking/lock-checker.ts';
import type { LockClass } from '../../src/locking/lock-class.ts';
import { LockOrder } from '../../src/locking/lock-order.ts';
import { Mutex } from '../../src/locking/mutex.ts';
import { mightSleep } from '../../src/locking/might-sleep.ts';
import { Rcu } from '../../src/locking/rcu.ts';
import { RwLock } from '../../src/locking/rw-lock.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { Srcu } from '../../src/locking/srcu.ts';
import { LOCK_STATISTICS, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { execute, sandbox } from '../support/executions.ts';

const AGENTS = 2;
const AT = { slots: 0x1000, mmap: 0x1800, mmu: 0x2000, zone: 0x2800, srcu: 0x3000, rcu: 0x4000 };
const HOLD_STEPS_MAX = 8;

const classOf = (name: string, kind: LockClass['kind'], holdStepsMax = Infinity): LockClass => {
  return { name, kind, holdStepsMax };
};
const CLASSES: ReadonlyMap<Word, LockClass> = new Map([
  [AT.slots, classOf('slots_lock', 'mutex')],
  [AT.mmap, classOf('mmap_lock', 'rwsem')],
  [AT.mmu, classOf('mmu_lock', 'spin', HOLD_STEPS_MAX)],
  [AT.zone, classOf('zone', 'spin')],
  [AT.srcu, classOf('srcu', 'srcu')],
  [AT.rcu, classOf('rcu', 'rcu')],
]);

/** The locks of one agent. */
function locksOf(agent: number): {
  readonly slots: Mutex;
  readonly mmap: RwLock;
  readonly mmu: SpinLock;
  readonly zone: SpinLock;
  readonly srcu: Srcu;
  readonly rcu: Rcu;
} {
  const options = { agents: AGENTS, agent, statistics: READ_WRITE_STATISTICS };
  return {
    slots: new Mutex(AT.slots, AGENTS, LOCK_STATISTICS),
    mmap: new RwLock(AT.mmap, AGENTS, READ_WRITE_STATISTICS),
    mmu: new SpinLock(AT.mmu, AGENTS, LOCK_STATISTICS),
    zone: new SpinLock(AT.zone, AGENTS, LOCK_STATISTICS),
    srcu: new Srcu({ ...options, at: AT.srcu }),
    rcu: new Rcu({ ...options, at: AT.rcu }),
  };
}
type Locks = ReturnType<typeof locksOf>;
type Use = (locks: Locks) => Op<void>;

beforeEach(() => {
  sandbox();
});

/** Agents that each do their part, one after the other: nothing is ever contended. */
function run(checker: LockChecker, uses: readonly Use[]): readonly LockFinding[] {
  const agents = uses.map((use, agent) => () => use(locksOf(agent)));
  const result = execute({ agents, scheduler: new RoundRobin(1000), sinks: [checker] });
  expect(result.outcome).toBe('completed');
  checker.finish(() => false);
  return checker.findings;
}

function findingsOf(...uses: readonly Use[]): readonly LockFinding[] {
  return run(new LockChecker(CLASSES, ['slots_lock', 'mmap_lock', 'mmu_lock']), uses);
}

/** What an agent does while it holds a lock. */
function* under(lock: Mutex | SpinLock, inside: () => Op<void>): Op<void> {
  yield* lock.lock();
  yield* inside();
  yield* lock.unlock();
}

function* reading(lock: Srcu | Rcu | RwLock, inside: () => Op<void>): Op<void> {
  yield* lock.readLock();
  yield* inside();
  yield* lock.readUnlock();
}

function* nothing(): Op<void> {}

const steps = (count: number) =>
  function* (): Op<void> {
    for (let step = 0; step < count; step++) yield* load32(64, Order.once);
  };

const inner: Use = ({ mmu, zone }) => under(mmu, () => under(zone, nothing));
const outer: Use = ({ mmu, zone }) => under(zone, () => under(mmu, nothing));
const slotsFirst: Use = ({ slots, mmap }) => under(slots, () => reading(mmap, nothing));
const mmapFirst: Use = ({ slots, mmap }) => reading(mmap, () => under(slots, nothing));
const update: Use = ({ slots, srcu }) => under(slots, () => srcu.synchronize());
const sectionInside: Use = ({ slots, srcu }) => under(slots, () => reading(srcu, nothing));
const sectionOutside: Use = ({ slots, srcu }) => reading(srcu, () => under(slots, nothing));
const sectionsUnderZone: Use = ({ srcu, rcu, zone }) =>
  under(zone, () => reading(srcu, () => reading(rcu, nothing)));
const zoneInSections: Use = ({ srcu, rcu, zone }) =>
  reading(srcu, () => reading(rcu, () => under(zone, nothing)));

describe('order', () => {
  test('one way round is right, both ways are a cycle though nobody waits', () => {
    expect(findingsOf(inner, inner)).toEqual([]);
    expect(findingsOf(inner, outer)).toEqual([
      {
        verdict: 'lock-order',
        message: 'agent 1 took mmu_lock under zone; before: mmu_lock, then zone',
      },
    ]);
  });

  test('a cycle comes together from several executions, and is reported once', () => {
    const checker = new LockChecker(CLASSES, []);
    expect(run(checker, [inner])).toEqual([]);
    checker.reset();
    expect(run(checker, [outer]).map(({ verdict }) => verdict)).toEqual(['lock-order']);
    checker.reset();
    expect(run(checker, [outer])).toEqual([]);
  });

  test('against the declared order once is enough', () => {
    expect(findingsOf(slotsFirst)).toEqual([]);
    expect(findingsOf(mmapFirst)).toEqual([
      {
        verdict: 'lock-order',
        message: 'agent 0 took slots_lock under mmap_lock; before: slots_lock, then mmap_lock',
      },
    ]);
  });

  test('a cycle of three classes', () => {
    const order = new LockOrder(['a', 'b']);
    expect(order.add('b', 'c')).toBeNull();
    expect(order.add('a', 'c')).toBeNull();
    expect(order.add('c', 'a')).toEqual(['a', 'b', 'c']);
    expect(order.add('c', 'a')).toBeNull();
  });

  test('one class under itself', () => {
    expect(new LockOrder([]).add('a', 'a')).toEqual(['a']);
  });

  test('a read section waits for nobody, so it has no place in an order; nor does it sleep', () => {
    expect(findingsOf(sectionsUnderZone, zoneInSections)).toEqual([]);
  });

  test('a read section waits for nobody; a grace period waits for what is taken in sections', () => {
    expect(findingsOf(update, sectionInside)).toEqual([]);
    expect(findingsOf(update, sectionOutside)).toEqual([
      {
        verdict: 'lock-order',
        message: 'agent 1 took slots_lock under srcu; before: slots_lock, then srcu',
      },
    ]);
  });
});

function* sleep(): Op<void> {
  mightSleep();
  yield* load32(64, Order.once);
}

describe('sleep', () => {
  test.each<[string, Use, Use, string]>([
    [
      'a call that may, under a mutex and under a spin lock',
      ({ slots }) => under(slots, sleep),
      ({ mmu }) => under(mmu, sleep),
      'agent 0 may sleep in a call that may sleep with mmu_lock held',
    ],
    [
      'a call that may, in a section of SRCU and of RCU',
      ({ srcu }) => reading(srcu, sleep),
      ({ rcu }) => reading(rcu, sleep),
      'agent 0 may sleep in a call that may sleep with rcu held',
    ],
    [
      'a mutex before a spin lock and under it',
      ({ slots, zone }) => under(slots, () => under(zone, nothing)),
      ({ slots, zone }) => under(zone, () => under(slots, nothing)),
      'agent 0 may sleep in slots_lock with zone held',
    ],
    [
      'a grace period after a spin lock and under it',
      function* ({ rcu, zone }): Op<void> {
        yield* under(zone, nothing);
        yield* rcu.synchronize();
      },
      ({ rcu, zone }) => under(zone, () => rcu.synchronize()),
      'agent 0 may sleep in rcu with zone held',
    ],
  ])('%s', (_, good, bad, message) => {
    expect(findingsOf(good)).toEqual([]);
    expect(findingsOf(bad)).toEqual([{ verdict: 'lock-sleep', message }]);
  });
});

const hold =
  (count: number): Use =>
  ({ mmu }) =>
    under(mmu, steps(count));

test('a hold is as long as its class allows, or one operation longer', () => {
  // The release is the last operation, after the hold.
  expect(findingsOf(hold(HOLD_STEPS_MAX))).toEqual([]);
  expect(findingsOf(hold(HOLD_STEPS_MAX + 1))).toEqual([
    { verdict: 'lock-hold', message: 'agent 0 held mmu_lock for more than 8 operations' },
  ]);
});

test('what is not given back is found at the end, but with a daemon', () => {
  const checker = new LockChecker(CLASSES, []);
  const agents = [0, 1].map((agent) => {
    const { slots, zone } = locksOf(agent);
    return (): Op<void> => (agent === 0 ? slots.lock() : zone.lock());
  });
  execute({ agents, scheduler: new RoundRobin(), sinks: [checker] });
  checker.finish((agent) => agent === 1);
  expect(checker.findings).toEqual([
    { verdict: 'lock-not-released', message: 'agent 0 ended with slots_lock held' },
  ]);
  checker.reset();
  checker.finish(() => false);
  expect(checker.findings).toEqual([]);
});
