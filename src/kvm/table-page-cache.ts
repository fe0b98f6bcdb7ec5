/**
 * A cache of zeroed table pages (specification section 5N): filled before `mmu_lock` is taken, where allocation may sleep; emptied under
 * it, where it may not.
 */
import { mightSleep } from '../locking/might-sleep.ts';
import type { Op } from '#port';
import type { Phys } from '../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../machine/frames.ts';
import type { TableCache } from '../pgtable/mm-ops.ts';

/** Pages a cache holds at most. */
export const CACHE_PAGES = 40;

export abstract class TablePageCache implements TableCache {
  readonly #zone: FrameZone;

  constructor(zone: FrameZone) {
    this.#zone = zone;
  }

  /** Pages in the cache. */
  abstract get pages(): number;
  protected abstract push(page: Phys): void;
  /** The page pushed last; there is one. */
  protected abstract pop(): Phys;

  /**
   * Nothing if at least `min` pages are there; otherwise fills to capacity. False if the allocator ran dry below `min`. May
   * sleep: never under `mmu_lock`.
   */
  *topUp(min: number): Op<boolean> {
    mightSleep();
    if (this.pages >= min) return true;
    while (this.pages < CACHE_PAGES) {
      const page = yield* this.#zone.zalloc();
      if (page === NO_FRAME) return this.pages >= min;
      this.push(page);
    }
    return true;
  }

  // oxlint-disable-next-line require-yield -- the interface allows allocators that do yield.
  *alloc(): Op<Phys> {
    return this.pages === 0 ? NO_FRAME : this.pop();
  }

  /** Gives every page back. */
  *free(): Op<void> {
    while (this.pages > 0) yield* this.#zone.put(this.pop());
  }
}

/** A cache for one call: an object on the caller's stack, who frees what is left in it. */
export class StackCache extends TablePageCache {
  readonly #pages: Phys[] = [];

  get pages(): number {
    return this.#pages.length;
  }

  protected push(page: Phys): void {
    this.#pages.push(page);
  }

  protected pop(): Phys {
    return this.#pages.pop() ?? NO_FRAME;
  }
}
