/**
 * Eager splitting of blocks where dirty pages are logged, 6.5 on (specification sections 4.11 and 5J): the pages are there before the first write
 * faults, which then only adds W. Best effort: what cannot be split is dissolved by its faults as before.
 */
import type { Op } from '#port';
import type { Memcache } from '../memcache.ts';
import type { IpaRange } from '../range.ts';
import type { Vm } from '../vm.ts';

export interface BlockSplitter {
  /** `mmu_lock` is held alone on entry and on return, and given up in between. */
  splitLocked(vm: Vm, range: IpaRange): Op<void>;
  /** The same for one who does not hold the lock. */
  split(vm: Vm, range: IpaRange): Op<void>;
  /** No slot logs any more: gives back what is left in the cache. */
  freeCache(): Op<void>;
}

/** Before 6.5. */
export const NO_SPLIT: BlockSplitter = {
  *splitLocked() {},
  *split() {},
  *freeCache() {},
};

/** Chunks are blocks of this level. */
const CHUNK_LEVEL = 2;

export class EagerSplit implements BlockSplitter {
  /** Of the VM; `slots_lock` protects it. */
  readonly #cache: Memcache;

  constructor(cache: Memcache) {
    this.#cache = cache;
  }

  *splitLocked(vm: Vm, { ipa, bytes }: IpaRange): Op<void> {
    const { geometry, memslots, mmuLock, stage2 } = vm.parts;
    memslots.slotsLock.assertHeld();
    mmuLock.assertHeld();
    const chunk = geometry.sizeOf(CHUNK_LEVEL);
    const end = ipa + bytes;
    for (let at = ipa, next = 0; at < end; at = next) {
      if (!(yield* this.#isReady(vm))) return;
      const pgt = yield* vm.pgt();
      if (pgt === null) return;
      next = Math.min(end, at - (at % chunk) + chunk);
      const outcome = yield* stage2.split(pgt, { ipa: at, size: next - at, cache: this.#cache });
      if (outcome !== 'ok') return;
    }
  }

  *split(vm: Vm, range: IpaRange): Op<void> {
    const { mmuLock } = vm.parts;
    yield* mmuLock.lock();
    yield* this.splitLocked(vm, range);
    yield* mmuLock.unlock();
  }

  /** Tables for one chunk are in the cache, and others had the lock if they waited. False without memory. */
  *#isReady({ memcachePagesMin, parts: { mmuLock } }: Vm): Op<boolean> {
    if (this.#cache.pages >= memcachePagesMin && !(yield* mmuLock.isContended())) return true;
    yield* mmuLock.unlock();
    const isFilled = yield* this.#cache.topUp(memcachePagesMin);
    yield* mmuLock.lock();
    return isFilled;
  }

  *freeCache(): Op<void> {
    yield* this.#cache.free();
  }
}
