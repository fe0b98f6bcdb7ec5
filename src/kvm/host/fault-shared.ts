/** A fault on a page of the shared object. */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { awaitMoveLocked, flagsFor, type FaultOutcome, type HostFault } from './host-fault.ts';
import { HostState, NO_PTE, hostPte, numberOf, stateOf, withFlags } from './host-pte.ts';
import type { Mm } from './mm.ts';

/** The object's page, which is made when nobody has touched it yet. */
export function* faultInShared(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  const { table, shared } = mm;
  const page = shared.pageOf(fault.area, fault.hva);
  yield* table.lock.lock();
  const held = shared.find(page);
  if (stateOf(held) === HostState.migrating) return yield* awaitMoveLocked(mm);
  if (stateOf(held) === HostState.page && table.find(fault.hva).pte === NO_PTE)
    yield* mapSharedLocked(mm, fault.hva, page, flagsFor(fault, true));
  yield* table.lock.unlock();
  if (stateOf(held) === HostState.poisoned) return 'poisoned';
  return held === NO_PTE ? yield* makeSharedPage(mm, fault, page) : 'ok';
}

/** Maps a page that the object has, where nothing is mapped. `flags`: of the entry. */
export function* mapSharedLocked(mm: Mm, hva: Hva, page: number, flags: number): Op<void> {
  const { table, shared, pages } = mm;
  const held = shared.find(page);
  yield* pages.frames.get(pages.frameOf(numberOf(held)));
  yield* table.setLocked(hva, LAST_LEVEL, withFlags(held, flags));
}

function* makeSharedPage(mm: Mm, fault: HostFault, page: number): Op<FaultOutcome> {
  const { table, shared, pages } = mm;
  const frame: Phys = yield* pages.allocate();
  if (frame === NO_FRAME) return 'noMemory';
  yield* pages.frames.own(frame, pages.ownerTag(fault.area, fault.hva));
  yield* table.lock.lock();
  const isFirst = shared.find(page) === NO_PTE;
  if (isFirst) shared.setLocked(page, hostPte(HostState.page, pages.numberOf(frame), 0));
  yield* table.lock.unlock();
  if (!isFirst) yield* pages.frames.put(frame);
  return 'ok';
}
