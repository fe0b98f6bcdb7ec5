import { expect, test } from 'vitest';
import type { LockStatistics } from '../../src/locking/lock-account.ts';
import { lockHands } from '../../src/main/stuck-locks.ts';
import { layoutOf, statisticsOf } from '../../src/workers/layout.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { small } from '../runs/small.ts';

test('who holds and who waits is said of every agent, with its VM if that is not the first', () => {
  const layout = layoutOf(small('shared-cpus'));
  const memory = { buffer: new ArrayBuffer(layout.bytes) };
  const words = new Int32Array(memory.buffer);
  const count = (
    agent: number,
    row: LockStatistics,
    name: 'acquisitions' | 'contentions',
  ): void => {
    words[(statisticsOf(layout, agent) + row[name]) / 4] = 1;
  };
  expect(lockHands({ memory, layout })).toBe('');
  const { locks, rwLocks, tablesRcu } = STATISTICS;
  count(0, locks.run_queue, 'acquisitions');
  count(0, rwLocks.mmap_lock.write, 'acquisitions');
  count(1, locks.run_queue, 'contentions');
  count(1, tablesRcu.read, 'acquisitions');
  expect(lockHands({ memory, layout })).toBe(
    '; vCPU 0 holds run_queue, mmap_lock (write); vCPU 1 (VM 1) holds tables_rcu (read) and waits for run_queue',
  );
});
