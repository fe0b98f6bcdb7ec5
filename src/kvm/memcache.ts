/** A vCPU's cache of table pages, in shared memory: the vCPU's thread uses it, and it is accounted for after a run. */
import { read32, write32, type Word } from '#port';
import type { Phys } from '../machine/address.ts';
import type { FrameZone } from '../machine/frames.ts';
import { CACHE_PAGES, TablePageCache } from './table-page-cache.ts';

/** Bytes of a cache in shared memory: the number of pages, then their frame numbers. */
export const MEMCACHE_BYTES: number = 4 + CACHE_PAGES * 4;

export class Memcache extends TablePageCache {
  readonly #at: Word;
  readonly #zone: FrameZone;

  /** `at`: {@link MEMCACHE_BYTES} zeroed bytes that only the owner touches. */
  constructor(at: Word, zone: FrameZone) {
    super(zone);
    this.#at = at;
    this.#zone = zone;
  }

  get pages(): number {
    return read32(this.#at);
  }

  protected push(page: Phys): void {
    const { pages } = this;
    const { base, frameBytes } = this.#zone.layout;
    write32(this.#slot(pages), (page - base) / frameBytes);
    write32(this.#at, pages + 1);
  }

  protected pop(): Phys {
    const last = this.pages - 1;
    write32(this.#at, last);
    const { base, frameBytes } = this.#zone.layout;
    return (base + read32(this.#slot(last)) * frameBytes) as Phys;
  }

  #slot(index: number): Word {
    return this.#at + 4 + index * 4;
  }
}
