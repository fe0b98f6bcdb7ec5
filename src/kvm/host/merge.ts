/** Merging two private pages with equal contents into one read-only frame (KSM). */
import { read32, type Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import {
  HostFlag,
  HostState,
  NO_PTE,
  flagsOf,
  hostPte,
  isWritable,
  numberOf,
  stateOf,
  withFlags,
} from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import type { HvaRange } from './mmu-notifier.ts';
import { OWNER_MERGED, PageFlag, isPrivateOwner } from './pages.ts';

/**
 * Lets the page at `other` share the frame of the page at `kept`. `skipped` unless both are private base pages, unpinned, on the LRU and
 * equal; they may be left read-only, which the next write undoes.
 */
export function* mergePages(mm: Mm, kept: Hva, other: Hva): Op<HostResult> {
  if (kept === other) return 'skipped';
  if (!(yield* protectPage(mm, kept)) || !(yield* protectPage(mm, other))) return 'skipped';
  const range = { hva: other, bytes: mm.geometry.pageBytes };
  yield* mm.notifier.invalidateRangeStart(range, true);
  yield* mm.table.lock.lock();
  const gone = yield* replaceLocked(mm, kept, other);
  yield* mm.table.lock.unlock();
  yield* mm.notifier.invalidateRangeEnd(range);
  if (gone === null) return 'skipped';
  yield* mm.pages.release(gone);
  return 'done';
}

/** Makes a page read-only, in the secondary tables by changing their entry (write_protect_page). False if it is not fit for merging. */
function* protectPage(mm: Mm, hva: Hva): Op<boolean> {
  const range: HvaRange = { hva, bytes: mm.geometry.pageBytes };
  yield* mm.notifier.invalidateRangeStart(range, true);
  yield* mm.table.lock.lock();
  const isProtected = yield* protectLocked(mm, hva);
  yield* mm.table.lock.unlock();
  yield* mm.notifier.invalidateRangeEnd(range);
  return isProtected;
}

/** The entry is empty while references are counted: who pins without the lock cannot miss it. */
function* protectLocked(mm: Mm, hva: Hva): Op<boolean> {
  const { table, pages } = mm;
  const frame = yield* mergeableLocked(mm, hva);
  if (frame === null) return false;
  const { pte } = table.find(hva);
  yield* table.setLocked(hva, LAST_LEVEL, NO_PTE);
  const isMerged = (yield* pages.frames.owner(frame)) === OWNER_MERGED;
  if (!isMerged && (yield* pages.frames.count(frame)) !== 1) {
    yield* table.setLocked(hva, LAST_LEVEL, pte);
    return false;
  }
  yield* mm.notifier.changePte(hva, frame);
  const readOnly = withFlags(pte, flagsOf(pte) & ~(HostFlag.writable | HostFlag.dirty));
  yield* table.setLocked(hva, LAST_LEVEL, readOnly);
  return true;
}

/** The frame that `other` gives up, or null if the pages are no longer fit, or differ. */
function* replaceLocked(mm: Mm, kept: Hva, other: Hva): Op<Phys | null> {
  const { table, pages } = mm;
  const [to, gone] = [yield* mergeableLocked(mm, kept), yield* mergeableLocked(mm, other)];
  if (to === null || gone === null || to === gone) return null;
  if (isWritable(table.find(kept).pte) || isWritable(table.find(other).pte)) return null;
  if (!areEqual(mm, to, gone)) return null;
  yield* pages.frames.own(to, OWNER_MERGED);
  yield* pages.frames.get(to);
  yield* table.setLocked(other, LAST_LEVEL, NO_PTE);
  yield* mm.notifier.changePte(other, to);
  const pte = hostPte(HostState.page, pages.numberOf(to), flagsOf(table.find(kept).pte));
  yield* table.setLocked(other, LAST_LEVEL, pte);
  return gone;
}

/** The frame of a private base page on the LRU, or null. */
function* mergeableLocked(mm: Mm, hva: Hva): Op<Phys | null> {
  const { table, pages } = mm;
  const { level, pte } = table.find(hva);
  if (level !== LAST_LEVEL || stateOf(pte) !== HostState.page) return null;
  if (mm.vmas.covering(hva)?.isPrivate !== true) return null;
  const frame = pages.frameOf(numberOf(pte));
  if (yield* pages.has(frame, PageFlag.offLru)) return null;
  const owner = yield* pages.frames.owner(frame);
  return isPrivateOwner(owner) || owner === OWNER_MERGED ? frame : null;
}

/** Plain reads: nobody may write a page that is read-only everywhere and not pinned. */
function areEqual(mm: Mm, a: Phys, b: Phys): boolean {
  const { frames } = mm.pages;
  const [one, two] = [frames.wordOf(a), frames.wordOf(b)];
  for (let at = 0; at < frames.layout.contentBytes; at += 4)
    if (read32(one + at) !== read32(two + at)) return false;
  return true;
}
