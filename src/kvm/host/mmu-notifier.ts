/**
 * What the host's memory management tells its one subscriber (specification section 5I): every change of the host page table is
 * announced, so that secondary page tables forget in time.
 */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';

/** A range of user addresses: whole pages, bytes. */
export interface HvaRange {
  readonly hva: Hva;
  readonly bytes: number;
}

/**
 * Calls come from any agent of the host. `changePte`, `clearFlushYoung`, `clearYoung` and `testYoung` come under the page-table lock and
 * may not sleep; the others come without a spin lock, some with the mmap lock.
 */
export interface MmuNotifier {
  /** Once it has returned, and until the end, nobody uses a page of the range. `mayBlock`: whether it may wait or hand over locks. */
  invalidateRangeStart(range: HvaRange, mayBlock: boolean): Op<void>;
  /** Pairs with `invalidateRangeStart` of the same range; the host's table holds what is true now. */
  invalidateRangeEnd(range: HvaRange): Op<void>;
  /** The page at `hva` is about to become `frame`, read-only. Between a start and an end of that page. */
  changePte(hva: Hva, frame: Phys): Op<void>;
  /** Whether the range was accessed since the last call; forgets it, in TLBs too. The range is one entry of the host's table. */
  clearFlushYoung(range: HvaRange): Op<boolean>;
  /** The same, while a TLB may go on granting accesses that are not seen. */
  clearYoung(range: HvaRange): Op<boolean>;
  /** Whether the page was accessed; forgets nothing. */
  testYoung(hva: Hva): Op<boolean>;
  /** The address space goes away; the last call. */
  release(): Op<void>;
}

/** The subscriber of an address space that nobody watches. */
export const UNWATCHED: MmuNotifier = {
  *invalidateRangeStart() {},
  *invalidateRangeEnd() {},
  *changePte() {},
  *clearFlushYoung() {
    return false;
  },
  *clearYoung() {
    return false;
  },
  *testYoung() {
    return false;
  },
  *release() {},
};
