/**
 * A vCPU's cache of zeroed table pages (specification section 5N): filled before `mmu_lock` is taken, where allocation may sleep;
 * emptied under it, where it may not.
 */
import { read32, write32, type Op, type Word } from '#port';
import type { Phys } from '../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../machine/frames.ts';
import type { TableCache } from '../pgtable/mm-ops.ts';

/** Pages a cache holds at most. */
export const MEMCACHE_PAGES = 40;
/** Bytes of a cache in shared memory: the number of pages, then their frame numbers. */
export const MEMCACHE_BYTES: number = 4 + MEMCACHE_PAGES * 4;

export class Memcache implements TableCache {
  readonly #at: Word;
  readonly #zone: FrameZone;

  /** `at`: {@link MEMCACHE_BYTES} zeroed bytes that only the owner touches. */
  constructor(at: Word, zone: FrameZone) {
    this.#at = at;
    this.#zone = zone;
  }

  /** Pages in the cache. */
  get pages(): number {
    return read32(this.#at);
  }

  /**
   * Nothing if at least `min` pages are there; otherwise fills to capacity. False if the allocator ran dry below `min`. May
   * sleep: never under `mmu_lock`.
   */
  *topUp(min: number): Op<boolean> {
    if (this.pages >= min) return true;
    while (this.pages < MEMCACHE_PAGES) {
      const page = yield* this.#zone.zalloc();
      if (page === NO_FRAME) return this.pages >= min;
      this.#push(page);
    }
    return true;
  }

  // oxlint-disable-next-line require-yield -- the interface allows allocators that do yield.
  *alloc(): Op<Phys> {
    const pages = this.pages;
    if (pages === 0) return NO_FRAME;
    write32(this.#at, pages - 1);
    const { base, frameBytes } = this.#zone.layout;
    return (base + read32(this.#slot(pages - 1)) * frameBytes) as Phys;
  }

  #push(page: Phys): void {
    const pages = this.pages;
    const { base, frameBytes } = this.#zone.layout;
    write32(this.#slot(pages), (page - base) / frameBytes);
    write32(this.#at, pages + 1);
  }

  #slot(index: number): Word {
    return this.#at + 4 + index * 4;
  }
}
