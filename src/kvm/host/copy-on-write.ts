/** A write to an entry that is mapped read-only in an area that permits it. */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { flagsFor, type FaultOutcome, type HostFault } from './host-fault.ts';
import { HostState, NO_PTE, flagsOf, hostPte, numberOf, stateOf, withFlags } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import { isPrivateOwner } from './pages.ts';
import { splitBlock } from './split.ts';

/** Grants the write: in place, on a copy, or, for a block that others use or the huge zero page, after splitting it. */
export function* makeWritable(mm: Mm, fault: HostFault, entry: HostEntry): Op<FaultOutcome> {
  const { area, hva } = fault;
  const isZero = stateOf(entry.pte) === HostState.zero;
  if (!isZero && (yield* reuse(mm, fault, entry))) return 'ok';
  if (entry.level !== LAST_LEVEL && area.isPrivate) {
    yield* splitBlock(mm, hva);
    return 'ok';
  }
  return yield* breakCow(mm, fault, entry);
}

/** Whether the entry could be made writable as it is, or has changed meanwhile. */
function* reuse(mm: Mm, fault: HostFault, entry: HostEntry): Op<boolean> {
  const { table } = mm;
  yield* table.lock.lock();
  const isSame = table.isUnchangedLocked(entry, fault.hva);
  const isOurs = isSame && (!fault.area.isPrivate || (yield* isSoleUser(mm, entry)));
  if (isOurs) {
    const flags = flagsOf(entry.pte) | flagsFor(fault, false);
    yield* table.setLocked(fault.hva, entry.level, withFlags(entry.pte, flags));
  }
  yield* table.lock.unlock();
  return isOurs || !isSame;
}

/** Whether the table's is the only reference of every frame of an entry. A pin, however short, makes a copy necessary. */
function* isSoleUser(mm: Mm, entry: HostEntry): Op<boolean> {
  const { frames } = mm.pages;
  const pages = mm.geometry.sizeOf(entry.level) / mm.geometry.pageBytes;
  const first = mm.pages.frameOf(numberOf(entry.pte));
  for (let i = 0; i < pages; i++) {
    const frame = mm.pages.next(first, i);
    if ((yield* frames.count(frame)) !== 1) return false;
    if (!isPrivateOwner(yield* frames.owner(frame))) return false;
  }
  return true;
}

/** The old page stays referenced until its copy is made; then the change is announced and made (wp_page_copy). */
function* breakCow(mm: Mm, fault: HostFault, entry: HostEntry): Op<FaultOutcome> {
  const { frames } = mm.pages;
  if (stateOf(entry.pte) === HostState.zero) return yield* replace(mm, fault, entry, NO_FRAME);
  const old = mm.pages.frameOf(numberOf(entry.pte));
  if (!(yield* frames.tryGet(old))) return 'ok';
  const isSame = yield* mm.table.isUnchanged(entry);
  const outcome = isSame ? yield* replace(mm, fault, entry, old) : 'ok';
  yield* frames.put(old);
  return outcome;
}

/** `old`: {@link NO_FRAME} for the zero page, which is not counted; otherwise the table's reference goes with the entry. */
function* replace(mm: Mm, fault: HostFault, entry: HostEntry, old: Phys): Op<FaultOutcome> {
  const { pages, notifier } = mm;
  const { frames } = pages;
  const fresh = yield* pages.allocate();
  if (fresh === NO_FRAME) return 'noMemory';
  if (old !== NO_FRAME && !(yield* mm.copyPage(frames.wordOf(fresh), frames.wordOf(old)))) {
    yield* frames.put(fresh);
    return 'poisoned';
  }
  const range = mm.table.rangeOf(entry);
  yield* notifier.invalidateRangeStart(range, true);
  const isReplaced = yield* exchange(mm, fault, entry, fresh);
  yield* notifier.invalidateRangeEnd(range);
  if (!isReplaced) yield* frames.put(fresh);
  else if (old !== NO_FRAME) yield* pages.release(old);
  return 'ok';
}

/** The entry is empty while the subscriber is told, so that nobody pins the old page meanwhile. */
function* exchange(mm: Mm, fault: HostFault, entry: HostEntry, fresh: Phys): Op<boolean> {
  const { table, pages } = mm;
  const { area, hva } = fault;
  yield* table.lock.lock();
  const isSame = table.isUnchangedLocked(entry, hva);
  if (isSame) {
    yield* pages.frames.own(fresh, pages.ownerTag(area, hva));
    yield* table.setLocked(hva, LAST_LEVEL, NO_PTE);
    yield* mm.notifier.changePte(hva, fresh);
    const pte = hostPte(HostState.page, pages.numberOf(fresh), flagsFor(fault, false));
    yield* table.setLocked(hva, LAST_LEVEL, pte);
  }
  yield* table.lock.unlock();
  return isSame;
}
