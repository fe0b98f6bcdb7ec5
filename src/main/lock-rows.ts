/** The rows of a run's lock statistics: what each is called, and where an agent counts it. */
import type { LockStatistics, ReadWriteStatistics } from '../locking/lock-account.ts';
import { LOCK_NAMES, RW_LOCK_NAMES, STATISTICS } from '../workers/statistics.ts';
import type { LockResult } from './result.ts';

export interface LockRow extends Pick<LockResult, 'name' | 'mode' | 'type'> {
  readonly at: LockStatistics;
}

/** Of every lock, a lock with readers and writers twice. */
export const LOCK_ROWS: readonly LockRow[] = [
  ...LOCK_NAMES.map((name): LockRow => {
    return { name, mode: 'spin', type: 'spinlock', at: STATISTICS.locks[name] };
  }),
  ...RW_LOCK_NAMES.flatMap((name) =>
    bothModes(name, name === 'mmu_lock' ? 'rwlock' : 'rwsem', STATISTICS.rwLocks[name]),
  ),
  { name: 'slots_lock', mode: 'mutex', type: 'mutex', at: STATISTICS.slotsLock },
  ...bothModes('slots_srcu', 'srcu', STATISTICS.slotsSrcu),
  { name: 'userfault_queue', mode: 'spin', type: 'spinlock', at: STATISTICS.userfaultLock },
  ...bothModes('tables_rcu', 'rcu', STATISTICS.tablesRcu),
];

function bothModes(
  name: string,
  type: 'rwsem' | 'rwlock' | 'srcu' | 'rcu',
  { read, write }: ReadWriteStatistics,
): LockRow[] {
  return [
    { name, mode: 'read', type: `${type}:R`, at: read },
    { name, mode: 'write', type: `${type}:W`, at: write },
  ];
}
