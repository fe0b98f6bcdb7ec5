/** A fault on a page that was swapped out. */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { flagsFor, type FaultOutcome, type HostFault } from './host-fault.ts';
import { HostState, hostPte, numberOf } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';

/** The place in the swap zone that an entry names. */
export function swapPlace(mm: Mm, entry: HostEntry): Phys {
  const { base, frameBytes } = mm.swap.layout;
  return (base + numberOf(entry.pte) * frameBytes) as Phys;
}

/**
 * Reads a page back. The place is referenced and the entry looked at again before anything is copied:
 *  1. A and B fault on a page at place 3.
 *  2. A reads it back, its place is freed; the page is written, swapped out again, to place 3.
 *  3. B, which copied place 3 in between, finds the entry as it was and would install what it copied: poison, or the past.
 * With B's reference the place cannot be handed out again, so an entry that still names it was never changed.
 */
export function* swapIn(mm: Mm, fault: HostFault, entry: HostEntry): Op<FaultOutcome> {
  const { swap, table } = mm;
  const place = swapPlace(mm, entry);
  if (!(yield* swap.tryGet(place))) return 'ok';
  const isSame = yield* table.isUnchanged(entry);
  const outcome = isSame ? yield* readBack(mm, fault, entry, place) : 'ok';
  yield* swap.put(place);
  return outcome;
}

function* readBack(mm: Mm, fault: HostFault, entry: HostEntry, place: Phys): Op<FaultOutcome> {
  const { swap, table, pages } = mm;
  const { frames } = pages;
  const fresh = yield* pages.allocate();
  if (fresh === NO_FRAME) return 'noMemory';
  if (!(yield* mm.copyPage(frames.wordOf(fresh), swap.wordOf(place)))) {
    yield* frames.put(fresh);
    return 'fault';
  }
  yield* frames.own(fresh, pages.ownerTag(fault.area, fault.hva));
  yield* table.lock.lock();
  const isSame = table.isUnchangedLocked(entry, fault.hva);
  const pte = hostPte(HostState.page, pages.numberOf(fresh), flagsFor(fault, false));
  if (isSame) yield* table.setLocked(fault.hva, LAST_LEVEL, pte);
  yield* table.lock.unlock();
  if (isSame) yield* swap.put(place);
  else yield* frames.put(fresh);
  return 'ok';
}
