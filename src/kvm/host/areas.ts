/** Changes of whole areas, under the mmap lock for writing: munmap, mmap, mprotect, and the end of the process. */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { clearWritable } from './discard.ts';
import { HostState, NO_PTE, numberOf, stateOf } from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import { UNWATCHED } from './mmu-notifier.ts';
import { zapRange } from './zap.ts';

/** Unmaps the area of `hva` and frees its pages (munmap). `invalid` if nothing is mapped there. */
export function* unmapArea(mm: Mm, hva: Hva): Op<HostResult> {
  yield* mm.mmapLock.writeLock();
  const area = mm.vmas.at(hva);
  if (area !== null) {
    area.isMapped = false;
    yield* mm.notifier.invalidateRangeStart(area, true);
    yield* zapRange(mm, area);
    yield* mm.notifier.invalidateRangeEnd(area);
  }
  yield* mm.mmapLock.writeUnlock();
  return area === null ? 'invalid' : 'done';
}

/** Maps the area of `hva` again, empty (mmap). `invalid` if there is none, or it is mapped. */
export function* mapArea(mm: Mm, hva: Hva): Op<HostResult> {
  yield* mm.mmapLock.writeLock();
  const area = mm.vmas.covering(hva);
  const isFree = area !== null && !area.isMapped;
  if (isFree) area.isMapped = true;
  yield* mm.mmapLock.writeUnlock();
  return isFree ? 'done' : 'invalid';
}

/** Permits or forbids writing an area (mprotect). What is permitted shows in the entries with the next write. */
export function* protectArea(mm: Mm, hva: Hva, isWritable: boolean): Op<HostResult> {
  yield* mm.mmapLock.writeLock();
  const area = mm.vmas.at(hva);
  if (area !== null) {
    area.isWritable = isWritable;
    if (!isWritable) yield* clearWritable(mm, area);
  }
  yield* mm.mmapLock.writeUnlock();
  return area === null ? 'invalid' : 'done';
}

/**
 * The process ends (exit_mmap): the subscriber goes first and hears of nothing that follows; then everything is freed, the shared object
 * included. What stays allocated are the zero pages and broken frames.
 */
export function* exitMm(mm: Mm): Op<void> {
  yield* mm.notifier.release();
  mm.notifier = UNWATCHED;
  yield* mm.mmapLock.writeLock();
  for (const area of mm.vmas.areas) {
    area.isMapped = false;
    yield* zapRange(mm, area);
  }
  yield* freeShared(mm);
  yield* mm.mmapLock.writeUnlock();
}

/** A page that is being moved or is broken stays in the object; its mover may still need it. */
function* freeShared(mm: Mm): Op<void> {
  const { table, shared, pages } = mm;
  for (let page = 0; page < shared.pages; page++) {
    yield* table.lock.lock();
    const pte = shared.find(page);
    const isPage = stateOf(pte) === HostState.page;
    if (isPage) shared.setLocked(page, NO_PTE);
    yield* table.lock.unlock();
    if (isPage) yield* pages.frames.put(pages.frameOf(numberOf(pte)));
  }
}
