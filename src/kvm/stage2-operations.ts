/** What a generation of the stage-2 table code does for the KVM side: the strategy part of a profile. */
import type { Op } from '#port';
import type { Ipa, Level, Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { TableCache } from '../pgtable/mm-ops.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { SplitRequest } from '../pgtable/parallel/split.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { SlotPlace } from './mapping-size.ts';
import type { MmuLockSide } from './mmu-lock.ts';

/** What a fault is, as far as table pages are concerned. */
export interface FaultClass {
  readonly isWrite: boolean;
  readonly isPermission: boolean;
  /** Whether the slot logs dirty pages. */
  readonly logging: boolean;
  /** Bytes of the mapping: a page or a block. */
  readonly size: number;
  /** Bytes of the leaf that lacked a permission. */
  readonly leafSize: number;
}

/** A fault whose host page is pinned: what the last steps of section 5E decide on. */
export interface FaultMapping extends FaultClass {
  /** Of the page that faulted, down to 4 KiB, also where a larger one or a block around it is mapped. */
  readonly ipa: Ipa;
  /** Aligned to `size`. */
  readonly frame: Phys;
  readonly isExec: boolean;
  /** Whether the host lets the page be written, and no write to it has to be seen. */
  readonly isWritable: boolean;
  /** Not memory of the machine: never executable. */
  readonly isDevice: boolean;
  /** Memory is executable unasked (CTR_EL0.DIC). */
  readonly dic: boolean;
  readonly cache: TableCache;
}

/** What to split, and the tables for it. */
export type SplitRange = Omit<SplitRequest, 'flags'>;

/** A page of device registers that the host itself puts into the guest's memory. */
export interface DevicePage {
  readonly ipa: number;
  readonly phys: Phys;
  readonly isWritable: boolean;
  readonly cache: TableCache;
}

/**
 * `mmu_lock` is held on every call but `destroy`: alone, unless a side is asked for here (specification section 6). An outcome is that of
 * the walk.
 */
export interface Stage2Operations {
  /** The side that `faultIn` needs. */
  faultSide(fault: FaultClass): MmuLockSide;
  /** The side that `mkyoung` needs. */
  readonly youngSide: MmuLockSide;
  /** Bytes of an aligned chunk of a long range: between two of them the lock may be handed over. */
  chunkBytes(pgt: Stage2Pgtable): number;
  /** The level that a hugetlb page is mapped at (steps 4 and 5). */
  hugetlbLevel(place: SlotPlace, hugeBytes: number): Level;
  /** Whether the memcache is topped up before the lock is taken (section 5E, step 6). */
  needsTopUp(fault: FaultClass): boolean;
  /** Maps the page of a fault, or gives its leaf the permission it lacked, after the cache maintenance for it (steps 14 and 15). */
  faultIn(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome>;
  /** Removes every leaf that the range touches; TLBs are clean on return. */
  unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome>;
  /** Takes W from every leaf in the range; the caller flushes. */
  wrprotect(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome>;
  /** Sets the access flag; gives the leaf as it was, or an empty entry. */
  mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor>;
  /**
   * Clears access flags; gives whether one was set. Up to 6.4 of the range's first leaf alone: it is one entry of the host's table. The caller
   * decides on a flush.
   */
  mkold(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean>;
  /** Whether the access flag of such a leaf is set; changes nothing. */
  isYoung(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean>;
  /** Cleans the memory of every cacheable leaf that the range touches; nothing with FWB. */
  flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome>;
  /** Maps another page, read-only, where the tables for it exist: nothing is allocated, and a missing table is no failure. */
  changePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void>;
  /** Maps device registers. What is mapped there already is replaced, or, in `legacy`, `fault`. */
  mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome>;
  /** Splits the blocks that the range touches into pages, from 6.5 on; `noMemory` when the cache ran dry. Before: nothing. */
  split(pgt: Stage2Pgtable, range: SplitRange): Op<Outcome>;
  /** What teardown does under the lock, before the table is taken from everybody. */
  teardownLocked(pgt: Stage2Pgtable): Op<void>;
  /** Frees the table that nobody can reach any more. */
  destroy(pgt: Stage2Pgtable): Op<void>;
}
