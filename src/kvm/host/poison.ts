/** Memory that turns out to be broken (memory_failure). */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { HostState, inState } from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import { beginMove, endMove, isMoving, unmapForMove, type PageMove } from './move.ts';
import { OWNER_POISONED } from './pages.ts';

/**
 * Takes the page of `hva` away from everybody who maps it; each access to it from now on finds it poisoned. Its frame is never handed out
 * again. Who has pinned it keeps it. `skipped` without a page that can be isolated.
 */
export function* poisonPage(mm: Mm, hva: Hva): Op<HostResult> {
  const move = yield* beginMove(mm, hva);
  if (move === null) return 'skipped';
  yield* unmapForMove(mm, move);
  yield* mm.pages.frames.own(move.frame, OWNER_POISONED);
  // The reference that keeps the frame out of use; a shared page keeps its object's.
  if (move.sharedPage === null) yield* mm.pages.frames.get(move.frame);
  yield* poisonEntries(mm, move);
  yield* endMove(mm, move);
  return 'done';
}

function* poisonEntries(mm: Mm, move: PageMove): Op<void> {
  const { table, shared } = mm;
  yield* table.lock.lock();
  for (const hva of move.addresses) {
    const { pte } = table.find(hva);
    if (isMoving(mm, move, pte))
      yield* table.setLocked(hva, LAST_LEVEL, inState(pte, HostState.poisoned));
  }
  const { sharedPage } = move;
  if (sharedPage !== null)
    shared.setLocked(sharedPage, inState(shared.find(sharedPage), HostState.poisoned));
  yield* table.lock.unlock();
}
