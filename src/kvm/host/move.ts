/**
 * Taking a page out of use to move it: isolated (off the LRU, so that one agent at a time moves it), unmapped everywhere, and then
 * mapped again where it was mapped, as itself or as its copy. Who faults on it meanwhile waits.
 *
 * While it is unmapped nobody owns the frame, so that an access by a stale translation shows.
 */
import { Order, signalAdd32, type Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { HostState, flagsOf, hostPte, inState, numberOf, stateOf } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import { OWNER_MERGED, PageFlag } from './pages.ts';
import { isTransparentBlock, splitBlock } from './split.ts';

export interface PageMove {
  readonly frame: Phys;
  /** Everywhere that the page can be mapped. */
  readonly addresses: readonly Hva[];
  /** Page of the shared object, or null for a private page. */
  readonly sharedPage: number | null;
  /** Owner of the page's contents. */
  readonly owner: number;
}

/**
 * Isolates the page of `hva`, with a reference, until `endMove`; a transparent huge page is split first. Null: there is no base page,
 * or one that cannot be moved (hugetlb, zero, merged), or somebody else has isolated it.
 */
export function* beginMove(mm: Mm, hva: Hva): Op<PageMove | null> {
  const { table } = mm;
  const entry = yield* table.load(hva);
  if (isTransparentBlock(mm, entry) && stateOf(entry.pte) === HostState.page)
    yield* splitBlock(mm, hva);
  yield* table.lock.lock();
  const move = yield* isolateLocked(mm, table.find(hva), hva);
  yield* table.lock.unlock();
  return move;
}

function* isolateLocked(mm: Mm, entry: HostEntry, hva: Hva): Op<PageMove | null> {
  const { pages, shared, vmas } = mm;
  const area = vmas.covering(hva);
  if (area === null || area.kind === 'hugetlb') return null;
  if (entry.level !== LAST_LEVEL || stateOf(entry.pte) !== HostState.page) return null;
  const frame = pages.frameOf(numberOf(entry.pte));
  const owner = yield* pages.frames.owner(frame);
  if (owner === OWNER_MERGED || !(yield* pages.tryMark(frame, PageFlag.offLru))) return null;
  yield* pages.frames.get(frame);
  if (area.kind !== 'shared') return { frame, addresses: [hva], sharedPage: null, owner };
  const sharedPage = shared.pageOf(area, hva);
  return { frame, addresses: shared.addressesOf(vmas.areas, sharedPage), sharedPage, owner };
}

/**
 * Unmaps the page everywhere. True if it was mapped and nobody has a reference but the mover (and the shared object): from here on none
 * can be taken, for who took one before looks at the entry again. `remap` follows in any case.
 */
export function* unmapForMove(mm: Mm, move: PageMove): Op<boolean> {
  const { frames } = mm.pages;
  if (move.sharedPage !== null) yield* hideShared(mm, move.sharedPage);
  let unmapped = 0;
  for (const hva of move.addresses) {
    const range = { hva, bytes: mm.geometry.pageBytes };
    yield* mm.notifier.invalidateRangeStart(range, true);
    if (yield* unmapAt(mm, move, hva)) unmapped++;
    yield* mm.notifier.invalidateRangeEnd(range);
  }
  yield* frames.own(move.frame, 0);
  const expected = move.sharedPage === null ? 1 : 2;
  return unmapped > 0 && (yield* frames.count(move.frame)) === expected;
}

/** Maps `to`, the page itself or a copy of it, wherever the page was taken out and is still missed. */
export function* remap(mm: Mm, move: PageMove, to: Phys): Op<void> {
  const { table, pages } = mm;
  for (const hva of move.addresses) {
    yield* table.lock.lock();
    const { pte } = table.find(hva);
    if (isMoving(mm, move, pte)) {
      yield* pages.frames.get(to);
      yield* pages.frames.own(to, move.owner);
      const present = hostPte(HostState.page, pages.numberOf(to), flagsOf(pte));
      yield* table.setLocked(hva, LAST_LEVEL, present);
    }
    yield* table.lock.unlock();
  }
  if (move.sharedPage !== null) yield* remapShared(mm, move.sharedPage, move, to);
}

/** Puts the page back on the LRU, lets go who waits, and drops the mover's reference: of a page that was copied the last one. */
export function* endMove(mm: Mm, move: PageMove): Op<void> {
  yield* mm.pages.clear(move.frame, PageFlag.offLru);
  yield* signalAdd32(mm.moves, 1, Order.release);
  yield* mm.pages.frames.put(move.frame);
}

/** Whether an entry waits for this move. */
export function isMoving(mm: Mm, move: PageMove, pte: number): boolean {
  const moving = hostPte(HostState.migrating, mm.pages.numberOf(move.frame), 0);
  return (pte & ~flagsOf(pte as typeof moving)) === moving;
}

function* unmapAt(mm: Mm, move: PageMove, hva: Hva): Op<boolean> {
  const { table, pages } = mm;
  yield* table.lock.lock();
  const { level, pte } = table.find(hva);
  const isMapped =
    level === LAST_LEVEL &&
    stateOf(pte) === HostState.page &&
    numberOf(pte) === pages.numberOf(move.frame);
  if (isMapped) yield* table.setLocked(hva, LAST_LEVEL, inState(pte, HostState.migrating));
  yield* table.lock.unlock();
  if (isMapped) yield* pages.frames.put(move.frame);
  return isMapped;
}

/** From here on, faults on the object's page wait. */
function* hideShared(mm: Mm, page: number): Op<void> {
  const { table, shared } = mm;
  yield* table.lock.lock();
  shared.setLocked(page, inState(shared.find(page), HostState.migrating));
  yield* table.lock.unlock();
}

/** The object's reference goes over to the frame that it has now. */
function* remapShared(mm: Mm, page: number, move: PageMove, to: Phys): Op<void> {
  const { table, shared, pages } = mm;
  yield* pages.frames.get(to);
  yield* pages.frames.own(to, move.owner);
  yield* table.lock.lock();
  shared.setLocked(page, hostPte(HostState.page, pages.numberOf(to), 0));
  yield* table.lock.unlock();
  yield* pages.frames.put(move.frame);
}
