/** Reclaim: a private page that was not used lately goes to swap, and its frame is free. */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { clearReferenced } from './age.ts';
import { HostState, hostPte } from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import { beginMove, endMove, isMoving, remap, unmapForMove, type PageMove } from './move.ts';

/** `young`: used since the last look, which is forgotten now; the page stays. */
export type ReclaimResult = HostResult | 'young';

/** Swaps the page of `hva` out. `skipped` without a private page, while it is pinned, or when it
 * could not be written; `noMemory` when the swap zone is full. */
export function* reclaimPage(mm: Mm, hva: Hva): Op<ReclaimResult> {
  if (yield* clearReferenced(mm, hva)) return 'young';
  const move = yield* beginMove(mm, hva);
  if (move === null) return 'skipped';
  const result = yield* reclaim(mm, move, hva);
  yield* endMove(mm, move);
  return result;
}

function* reclaim(mm: Mm, move: PageMove, hva: Hva): Op<ReclaimResult> {
  const { swap } = mm;
  if (move.sharedPage !== null) return 'skipped';
  const place = yield* swap.zalloc();
  if (place === NO_FRAME) return 'noMemory';
  const isFree = yield* unmapForMove(mm, move);
  const isCopied =
    isFree && (yield* mm.copyPage(swap.wordOf(place), mm.pages.frames.wordOf(move.frame)));
  const isSwapped = isCopied && (yield* swapOut(mm, move, hva, place));
  if (!isCopied) yield* remap(mm, move, move.frame);
  if (!isSwapped) yield* swap.put(place);
  return isCopied ? 'done' : 'skipped';
}

/** False if the page was unmapped for good meanwhile: then nobody needs its contents. */
function* swapOut(mm: Mm, move: PageMove, hva: Hva, place: Phys): Op<boolean> {
  const { table, swap } = mm;
  yield* table.lock.lock();
  const isMissed = isMoving(mm, move, table.find(hva).pte);
  const { base, frameBytes } = swap.layout;
  const pte = hostPte(HostState.swapped, (place - base) / frameBytes, 0);
  if (isMissed) yield* table.setLocked(hva, LAST_LEVEL, pte);
  yield* table.lock.unlock();
  return isMissed;
}
