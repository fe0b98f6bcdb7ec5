import type { Op, Word } from '#port';
import type { Level, Phys } from '../machine/address.ts';

/** The level of the leaf that changed: an invalidation may skip entries of others; or {@link UNKNOWN_LEVEL}. */
export type LevelHint = Level | typeof UNKNOWN_LEVEL;
/** Hint of an invalidation that must not skip anything. No leaf has level 0. */
export const UNKNOWN_LEVEL = 0;

/** Where a table's pages are, and who counts their references. */
export interface TableMemory {
  /** Byte offset in shared memory of a table's word: what a virtual address is to the kernel. */
  wordOf(address: Phys): Word;

  /** Takes and drops references of the table page that holds the word `at`; the last one frees it. */
  getPage(at: Word): Op<void>;
  putPage(at: Word): Op<void>;
  /** References of the table page that holds the word `at`: 1 + counted entries. */
  pageCount(at: Word): Op<number>;
  /** `count` contiguous zeroed pages with one reference each, aligned to their total size; 0 when there are none. */
  zallocPagesExact(count: number): Op<Phys>;
  freePagesExact(first: Phys, count: number): Op<void>;
}

/**
 * What a table needs from its owner (the kernel's `kvm_pgtable_mm_ops` and the TLB maintenance of an MMU). An absent
 * capability is an explicit no-op. One object per agent.
 */
export interface MmOps extends TableMemory {
  /**
   * Takes over a table that an entry of `level` pointed to, with all below: frees it once no shared walk can be in it, by
   * `stage2FreeUnlinked`.
   */
  freeUnlinkedTable(table: Word, level: Level): Op<void>;

  /**
   * Invalidates entries of one input address everywhere; complete on return. Stage 2: of the VMID. EL2's stage 1: VALE2IS with the level
   * of the leaf, VAE2IS without a hint.
   */
  tlbFlushIpa(ipa: number, level: LevelHint): Op<void>;
  /** The same on this CPU alone, for a change that another CPU may miss: it then only faults once more. Stage 2 only. */
  tlbFlushIpaLocal(ipa: number, level: LevelHint): Op<void>;
  /** Whether an invalidation by range is better than one for each leaf (FEAT_TLBIRANGE). */
  readonly hasRangeTlbi: boolean;
  /** Invalidates everything of [`ipa`, `ipa + bytes`) everywhere, or more; complete on return. Stage 2 only. */
  tlbFlushRange(ipa: number, bytes: number): Op<void>;
  /** Invalidates everything of the VMID everywhere; complete on return. Stage 2 only. */
  tlbFlushVmid(): Op<void>;
  /** Makes stores of new entries visible to the hardware walker: DSB ISHST. */
  publishEntries(): Op<void>;

  /** Cleans and invalidates data to the point of coherency. */
  dcacheCleanInvalidate(address: Phys, bytes: number): Op<void>;
  /** Invalidates instructions to the point of unification. */
  icacheInvalidate(address: Phys, bytes: number): Op<void>;

  /** Brackets every walk of the live table: the walk counter. */
  walkBegin(): void;
  walkEnd(): void;
  /** Brackets a shared walk: what was given to `freeUnlinkedTable` since stays until its end. False: there is no read section. */
  rcuReadLock(): Op<boolean>;
  rcuReadUnlock(): Op<void>;
  /** A shared walk met a locked entry, which somebody is about to make: whoever repeats the walk may wait for that. */
  metLocked(entry: Word): void;
}

/** Where map takes its table pages from, which it gives back by `MmOps.putPage`. */
export interface TableCache {
  /** A zeroed page with one reference, or 0 when the cache is empty. */
  alloc(): Op<Phys>;
}
