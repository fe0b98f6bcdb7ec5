/** Collapsing the base pages of a block into a huge page (khugepaged). */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import {
  HostFlag,
  HostState,
  NO_PTE,
  hostPte,
  numberOf,
  stateOf,
  type HostPte,
} from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import type { HvaRange } from './mmu-notifier.ts';
import { PageFlag, isPrivateOwner } from './pages.ts';
import type { VmArea } from './vma.ts';

/**
 * Puts the pages of the block around `hva` into one huge page; absent and zero pages become zeroes. `skipped` where the block leaves its
 * area, has no page, or has one that is swapped out, merged, off the LRU, pinned or unreadable; `noMemory` without frames that lie together.
 *
 * The mmap lock is held for writing, so nobody faults while the entries are empty; they stay so after the end of the invalidation,
 * which is over when the secondary tables have forgotten the pages.
 */
export function* collapseBlock(mm: Mm, hva: Hva): Op<HostResult> {
  const { geometry, pages, mmapLock } = mm;
  const first = yield* pages.allocateBlock(geometry.entries);
  if (first === NO_FRAME) return 'noMemory';
  yield* mmapLock.writeLock();
  const area = mm.vmas.at(hva);
  const block = mm.table.blockAt(hva);
  const isInside = area?.kind === 'transparentHuge' && area.contains(block.hva, block.bytes);
  const isDone = isInside && (yield* collapse(mm, area, block, first));
  yield* mmapLock.writeUnlock();
  if (!isDone) yield* pages.putBlock(first, geometry.entries);
  return isDone ? 'done' : 'skipped';
}

function* collapse(mm: Mm, area: VmArea, block: HvaRange, first: Phys): Op<boolean> {
  yield* mm.notifier.invalidateRangeStart(block, true);
  const taken = yield* takeEntries(mm, block);
  yield* mm.notifier.invalidateRangeEnd(block);
  if (taken === null) return false;
  if (!(yield* areUnpinned(mm, taken)) || !(yield* copyPages(mm, taken, first))) {
    yield* giveBack(mm, block, taken);
    return false;
  }
  yield* releasePages(mm, taken);
  yield* mm.pages.ownBlock(first, taken.length, mm.pages.ownerTag(area, block.hva));
  yield* install(mm, area, block, first);
  return true;
}

/** Empties the block's entries and gives them, or null and leaves them if one is in the way. */
function* takeEntries(mm: Mm, block: HvaRange): Op<readonly HostPte[] | null> {
  const { table } = mm;
  yield* table.lock.lock();
  const taken = yield* collapsibleLocked(mm, block);
  for (const [i, pte] of (taken ?? []).entries())
    if (pte !== NO_PTE) yield* table.setLocked(pageOf(mm, block, i), LAST_LEVEL, NO_PTE);
  yield* table.lock.unlock();
  return taken;
}

function* collapsibleLocked(mm: Mm, block: HvaRange): Op<readonly HostPte[] | null> {
  const { table, geometry } = mm;
  const found: HostPte[] = [];
  for (let i = 0; i < geometry.entries; i++) {
    const { level, pte } = table.find(pageOf(mm, block, i));
    if (level !== LAST_LEVEL || !(yield* isCollapsible(mm, pte))) return null;
    found.push(pte);
  }
  return found.some(isPage) ? found : null;
}

function* isCollapsible(mm: Mm, pte: HostPte): Op<boolean> {
  if (pte === NO_PTE || stateOf(pte) === HostState.zero) return true;
  if (!isPage(pte)) return false;
  const frame = mm.pages.frameOf(numberOf(pte));
  if (yield* mm.pages.has(frame, PageFlag.offLru)) return false;
  return isPrivateOwner(yield* mm.pages.frames.owner(frame));
}

/** Whether the table's references are the only ones: then none can be added, for the entries are empty. */
function* areUnpinned(mm: Mm, taken: readonly HostPte[]): Op<boolean> {
  for (const pte of taken.filter(isPage)) {
    if ((yield* mm.pages.frames.count(mm.pages.frameOf(numberOf(pte)))) !== 1) return false;
  }
  return true;
}

function* giveBack(mm: Mm, block: HvaRange, taken: readonly HostPte[]): Op<void> {
  yield* mm.table.lock.lock();
  for (const [i, pte] of taken.entries())
    if (pte !== NO_PTE) yield* mm.table.setLocked(pageOf(mm, block, i), LAST_LEVEL, pte);
  yield* mm.table.lock.unlock();
}

/** False if one could not be read. */
function* copyPages(mm: Mm, taken: readonly HostPte[], first: Phys): Op<boolean> {
  const { pages } = mm;
  const { frames } = pages;
  for (const [i, pte] of taken.entries()) {
    if (!isPage(pte)) continue;
    const old = frames.wordOf(pages.frameOf(numberOf(pte)));
    if (!(yield* mm.copyPage(frames.wordOf(pages.next(first, i)), old))) return false;
  }
  return true;
}

function* releasePages(mm: Mm, taken: readonly HostPte[]): Op<void> {
  for (const pte of taken.filter(isPage)) yield* mm.pages.release(mm.pages.frameOf(numberOf(pte)));
}

function* install(mm: Mm, area: VmArea, block: HvaRange, first: Phys): Op<void> {
  const flags = HostFlag.young | HostFlag.dirty | (area.isWritable ? HostFlag.writable : 0);
  const pte = hostPte(HostState.page, mm.pages.numberOf(first), flags);
  yield* mm.table.lock.lock();
  yield* mm.table.setLocked(block.hva, 2, pte);
  yield* mm.table.lock.unlock();
}

function isPage(pte: HostPte): boolean {
  return stateOf(pte) === HostState.page;
}

function pageOf(mm: Mm, block: HvaRange, i: number): Hva {
  return (block.hva + i * mm.geometry.pageBytes) as Hva;
}
