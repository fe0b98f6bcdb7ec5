/** The classes of a run's locks (docs/locking.md has a row for each), the order that they are to be taken in, and how long they may be held. */
import type { Word } from '#port';
import type { LockClass, LockKind } from '../locking/lock-class.ts';
import { layoutOfVm, vmsOf, type Layout } from './layout.ts';
import { LOCK_NAMES, type LockName } from './statistics.ts';

/** Outermost first (specification section 6); the zones' locks and page_table_lock are innermost, in the order that runs show. */
export const LOCK_ORDER: readonly string[] = ['slots_lock', 'mmap_lock', 'mmu_lock'];

/** What a hold may have to go through, of which a run has so many. */
interface Sizes {
  readonly pages: number;
  /** Entries of one table, and of all tables that there can be. */
  readonly entries: number;
  readonly allEntries: number;
  /** Frames of the largest zone. */
  readonly frames: number;
  readonly cpus: number;
  readonly agents: number;
}

/** Operations for each of these, and for the hold itself. */
export type HoldBound = Partial<Readonly<Record<keyof Sizes, number>>> & { readonly once: number };

type AtomicName = LockName | 'userfault_queue' | 'tables_rcu';

const ZONE: HoldBound = { once: 32, frames: 8 };
/** Every entry of one table. */
const TABLE: HoldBound = { once: 128, entries: 32 };

/**
 * The longest hold of a lock whose holder may not sleep, in operations of the port: at least four times the longest that was seen of the shipped
 * workloads, small and in full, in all profiles, with a twin and without. Who searches is bounded by what there is: at most 65,536 VMIDs.
 */
export const HOLD_BOUNDS: Readonly<Record<AtomicName, HoldBound>> = {
  mmu_lock: { once: 128, pages: 64, allEntries: 2 },
  twin_lock: TABLE,
  page_table_lock: TABLE,
  tables_rcu: { once: 256, cpus: 32 },
  guest_zone: ZONE,
  table_zone: ZONE,
  swap_zone: ZONE,
  mn_invalidate_lock: { once: 16 },
  run_queue: { once: 32, cpus: 4 },
  vmid_lock: { once: 2 ** 17, cpus: 32 },
  userfault_queue: { once: 32, agents: 16 },
};

/** By the word that a lock's events name; of every VM. */
export function lockClassesOf(layout: Layout): ReadonlyMap<Word, LockClass> {
  const vms = Array.from({ length: vmsOf(layout) }, (_, vm) => layoutOfVm(layout, vm));
  return new Map(vms.flatMap(classesOfVm));
}

function classesOfVm(layout: Layout): [Word, LockClass][] {
  const sizes = sizesOf(layout);
  const { locks, rwLocks, slotsLock, slotsSrcu, tablesRcu, host } = layout;
  const atomic = (at: Word, name: AtomicName, kind: LockKind): [Word, LockClass] => {
    return [at, { name, kind, holdStepsMax: stepsOf(HOLD_BOUNDS[name], sizes) }];
  };
  const queues = host.vmas.flatMap(({ userfault }) => userfault?.places ?? []);
  return [
    ...LOCK_NAMES.map((name) => atomic(locks[name], name, 'spin')),
    atomic(rwLocks.mmu_lock, 'mmu_lock', 'rwlock'),
    ...queues.map(({ lock }) => atomic(lock, 'userfault_queue', 'spin')),
    atomic(tablesRcu, 'tables_rcu', 'rcu'),
    sleeping(rwLocks.mmap_lock, 'mmap_lock', 'rwsem'),
    sleeping(slotsLock, 'slots_lock', 'mutex'),
    sleeping(slotsSrcu, 'slots_srcu', 'srcu'),
  ];
}

/** One whose holder may sleep, however long. */
function sleeping(at: Word, name: string, kind: LockKind): [Word, LockClass] {
  return [at, { name, kind, holdStepsMax: Infinity }];
}

function sizesOf({ pages, tableZone, guestZone, runQueue, agents }: Layout): Sizes {
  const entries = tableZone.frameBytes / 8;
  const allEntries = tableZone.frames * entries;
  const frames = Math.max(tableZone.frames, guestZone.frames);
  return { pages, entries, allEntries, frames, cpus: runQueue.cpus, agents };
}

function stepsOf({ once, ...each }: HoldBound, sizes: Sizes): number {
  const names = Object.keys(each) as (keyof Sizes)[];
  return names.reduce((sum, name) => sum + (each[name] ?? 0) * sizes[name], once);
}
