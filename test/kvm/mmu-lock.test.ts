/** The two kinds of `mmu_lock`: which sides they have, what each hold allows, and whom it keeps out. */
import { Order, drive, load32, type Op, type Word } from '#port';
import { beforeEach, describe, expect, test } from 'vitest';
import { Scripted, type ScriptLine } from '../../src/explore/scripted.ts';
import { RwMmuLock, SpinMmuLock, type MmuLock } from '../../src/kvm/mmu-lock.ts';
import { RwLock } from '../../src/locking/rw-lock.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import { STATISTICS as BLOCK } from '../../src/workers/statistics.ts';
import { execute, sandbox } from '../support/executions.ts';

const LOCK = 0x400;
const AGENTS = 3;
/** A word that each agent loads while it holds the lock. */
const OWN: Word = 0x100;
const spin = (): MmuLock => new SpinMmuLock(new SpinLock(LOCK, AGENTS, BLOCK.locks.mmu_lock));
const rw = (): MmuLock => new RwMmuLock(new RwLock(LOCK, AGENTS, BLOCK.rwLocks.mmu_lock));

/** An agent runs until it is about to load {@link OWN}. */
const own = (agent: number): ScriptLine => ({ agent, until: ({ at }) => at === OWN });

beforeEach(() => {
  sandbox();
});

test('a spin lock has no read side, and its holder may do everything', () => {
  const lock = spin();
  expect(() => drive(lock.lockFor('read'))).toThrow('it has no read side');
  for (const take of [() => lock.lock(), () => lock.lockFor('write')]) {
    expect(() => lock.assertHeldFor('read')).toThrow('is not held');
    drive(take());
    lock.assertHeld();
    lock.assertHeldFor('write');
    lock.assertHeldFor('read');
    expect(drive(lock.isContended())).toBe(false);
    drive(lock.unlock());
    expect(() => lock.assertHeld()).toThrow('is not held');
  }
});

describe('a reader-writer lock', () => {
  test('held for reading allows what readers may, and nothing else', () => {
    const lock = rw();
    expect(() => lock.assertHeldFor('read')).toThrow('is not held');
    drive(lock.lockFor('read'));
    lock.assertHeldFor('read');
    expect(() => lock.assertHeldFor('write')).toThrow('not held for write');
    expect(() => lock.assertHeld()).toThrow('not held for write');
    expect(drive(lock.isContended())).toBe(false);
    drive(lock.unlock());
    expect(() => lock.assertHeldFor('read')).toThrow('is not held');
  });

  test('held for writing allows both', () => {
    const lock = rw();
    for (const take of [() => lock.lock(), () => lock.lockFor('write')]) {
      drive(take());
      lock.assertHeld();
      lock.assertHeldFor('write');
      lock.assertHeldFor('read');
      drive(lock.unlock());
      expect(() => lock.assertHeld()).toThrow('not held for write');
    }
  });

  test('lets readers in beside each other, and a writer only alone', () => {
    const lines: string[] = [];
    const agentOf = (name: string, side: 'read' | 'write') =>
      function* agent(): Op<void> {
        const lock = rw();
        yield* lock.lockFor(side);
        lines.push(`${name} in`);
        yield* load32(OWN, Order.once);
        lines.push(`${name} out`);
        yield* lock.unlock();
      };
    const agents = [agentOf('A', 'read'), agentOf('B', 'read'), agentOf('C', 'write')];
    const script = new Scripted([own(0), own(1), { agent: 2, toEnd: true }]);
    const result = execute({ agents, scheduler: script });
    expect(result.outcome).toBe('completed');
    expect(lines).toEqual(['A in', 'B in', 'A out', 'B out', 'C in', 'C out']);
  });
});
