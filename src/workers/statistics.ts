/** The statistics block of one agent: offsets of its counters and histograms. */
import { HISTOGRAM_BYTES } from '../engine/histogram.ts';
import {
  LOCK_STATISTICS_BYTES,
  lockStatisticsAt,
  type LockStatistics,
  type ReadWriteStatistics,
} from '../locking/lock-account.ts';
import type { TlbiStatistics } from '../machine/tlbi.ts';

/** Fault classes, in the order of the architecture's priority. */
export const FAULT_CLASSES = ['translation', 'access', 'permission'] as const;
export type FaultClass = (typeof FAULT_CLASSES)[number];

/** Software walks of one fault are counted up to this; more count as this many. */
export const WALKS_MAX = 15;

/** Offsets for one fault class. */
export interface FaultStatistics {
  readonly faults: number;
  /** `WALKS_MAX + 1` 32-bit counters: faults by number of software walks. */
  readonly walks: number;
  /** Histogram, nanoseconds. */
  readonly latencyNs: number;
}

/** Spin locks; `mmu_lock` is one of both kinds, by the profile. */
export const LOCK_NAMES = [
  'mmu_lock',
  'page_table_lock',
  'guest_zone',
  'table_zone',
  'swap_zone',
  'mn_invalidate_lock',
  'twin_lock',
  'run_queue',
  'vmid_lock',
] as const;
export type LockName = (typeof LOCK_NAMES)[number];

/** Reader-writer locks. */
export const RW_LOCK_NAMES = ['mmap_lock', 'mmu_lock'] as const;
export type RwLockName = (typeof RW_LOCK_NAMES)[number];

/** Offsets into an agent's block. */
export interface StatisticsLayout {
  readonly accesses: number;
  readonly retried: number;
  /** Accesses that were left to user space. */
  readonly exits: number;
  /** Times that a vCPU came to another CPU than where it ran before. */
  readonly moves: number;
  readonly walks: number;
  /** Locked entries that the walks of faults met. */
  readonly metLocked: number;
  readonly staleReads: number;
  /** Page index of the first stale read. */
  readonly firstStalePage: number;
  /** Accesses that reached a frame of another page, and the index of the first such page. */
  readonly strayAccesses: number;
  readonly firstStrayPage: number;
  /** Harvests of dirty logs, and the pages that they copied: host agents only. */
  readonly harvests: number;
  readonly pagesCopied: number;
  /** Nanoseconds between the first barrier and the end: host agent only. */
  readonly wallNs: number;
  readonly tlbi: TlbiStatistics;
  readonly faults: Readonly<Record<FaultClass, FaultStatistics>>;
  readonly locks: Readonly<Record<LockName, LockStatistics>>;
  readonly rwLocks: Readonly<Record<RwLockName, ReadWriteStatistics>>;
  readonly slotsLock: LockStatistics;
  /** Of all queues of userfaults together. */
  readonly userfaultLock: LockStatistics;
  readonly slotsSrcu: ReadWriteStatistics;
  readonly tablesRcu: ReadWriteStatistics;
  readonly bytes: number;
}

class Offsets {
  next = 0;

  take(bytes: number): number {
    const offset = this.next;
    this.next += Math.ceil(bytes / 8) * 8;
    return offset;
  }

  counter(): number {
    return this.take(8);
  }

  histogram(): number {
    return this.take(HISTOGRAM_BYTES);
  }

  fault(): FaultStatistics {
    return {
      faults: this.counter(),
      walks: this.take((WALKS_MAX + 1) * 4),
      latencyNs: this.histogram(),
    };
  }

  lock(): LockStatistics {
    return lockStatisticsAt(this.take(LOCK_STATISTICS_BYTES));
  }
}

function statisticsLayout(): StatisticsLayout {
  const at = new Offsets();
  const layout = {
    accesses: at.counter(),
    retried: at.counter(),
    exits: at.counter(),
    moves: at.counter(),
    walks: at.counter(),
    metLocked: at.counter(),
    staleReads: at.counter(),
    firstStalePage: at.counter(),
    strayAccesses: at.counter(),
    firstStrayPage: at.counter(),
    harvests: at.counter(),
    pagesCopied: at.counter(),
    wallNs: at.counter(),
    tlbi: {
      byIpa: at.counter(),
      local: at.counter(),
      range: at.counter(),
      vmid: at.counter(),
      all: at.counter(),
      stage1: at.counter(),
    },
    faults: { translation: at.fault(), access: at.fault(), permission: at.fault() },
    locks: {
      mmu_lock: at.lock(),
      page_table_lock: at.lock(),
      guest_zone: at.lock(),
      table_zone: at.lock(),
      swap_zone: at.lock(),
      mn_invalidate_lock: at.lock(),
      twin_lock: at.lock(),
      run_queue: at.lock(),
      vmid_lock: at.lock(),
    },
    rwLocks: {
      mmap_lock: { read: at.lock(), write: at.lock() },
      mmu_lock: { read: at.lock(), write: at.lock() },
    },
    slotsLock: at.lock(),
    userfaultLock: at.lock(),
    slotsSrcu: { read: at.lock(), write: at.lock() },
    tablesRcu: { read: at.lock(), write: at.lock() },
  };
  return { ...layout, bytes: at.next };
}

/** The same for every agent of every run. */
export const STATISTICS: StatisticsLayout = statisticsLayout();
