/** The classes of a run's locks (docs/locking.md has a card for each), and the order that they are to be taken in. */
import type { Word } from '#port';
import type { LockClass } from '../locking/lock-class.ts';
import type { Layout } from './layout.ts';
import { LOCK_NAMES } from './statistics.ts';

/** Outermost first (specification section 6); the zones' locks and page_table_lock are innermost, in the order that runs show. */
export const LOCK_ORDER: readonly string[] = ['slots_lock', 'mmap_lock', 'mmu_lock'];

/**
 * Operations under a spin lock, and more for each page of a slot, as a harvest or an unmap holds `mmu_lock` over a whole one. Loose: a twin
 * compares whole tables under it, of up to 8,192 entries each; what exceeds it does not end.
 */
const HOLD_STEPS_MAX = 1_000_000;
const HOLD_STEPS_PER_PAGE = 100;

/** By the word that a lock's events name. */
export function lockClassesOf(layout: Layout): ReadonlyMap<Word, LockClass> {
  const classes = new Map<Word, LockClass>();
  const pages = layout.slots.reduce((sum, slot) => sum + slot.pages, 0);
  const holdStepsMax = HOLD_STEPS_MAX + HOLD_STEPS_PER_PAGE * pages;
  for (const name of LOCK_NAMES) {
    classes.set(layout.locks[name], { name, kind: 'spin', holdStepsMax });
  }
  const { mmap_lock, mmu_lock } = layout.rwLocks;
  classes.set(mmap_lock, { name: 'mmap_lock', kind: 'rwsem', holdStepsMax: Infinity });
  classes.set(mmu_lock, { name: 'mmu_lock', kind: 'rwlock', holdStepsMax });
  classes.set(layout.slotsLock, { name: 'slots_lock', kind: 'mutex', holdStepsMax: Infinity });
  classes.set(layout.tablesRcu, {
    name: 'tables_rcu',
    kind: 'rcu',
    holdStepsMax,
  });
  classes.set(layout.slotsSrcu, { name: 'slots_srcu', kind: 'srcu', holdStepsMax: Infinity });
  const queue: LockClass = { name: 'userfault_queue', kind: 'spin', holdStepsMax };
  for (const { lock } of layout.host.vmas.flatMap(({ userfault }) => userfault?.places ?? []))
    classes.set(lock, queue);
  return classes;
}
