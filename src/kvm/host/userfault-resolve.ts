/**
 * The handler's side of userfaultfd: the calls by which a process resolves a fault. Each installs the page where there is none, then wakes
 * who waits for it; where a page is already (`exists`), nothing is installed and nobody woken.
 */
import { read32, write32, type Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { mapSharedLocked } from './fault-shared.ts';
import { allocateFilled, type Filling } from './filling.ts';
import { awaitMoveLocked } from './host-fault.ts';
import {
  HostFlag,
  HostState,
  NO_PTE,
  flagsOf,
  hostPte,
  stateOf,
  withFlags,
  type HostPte,
} from './host-pte.ts';
import type { Mm } from './mm.ts';
import type { UserfaultMode } from './userfault.ts';
import type { VmArea } from './vma.ts';

/**
 * `exists` (-EEXIST): the page is there; `invalid` (-EINVAL): no area registered for this; `noPage` (-EFAULT): the shared object has no
 * page to go on with; `noMemory` (-ENOMEM).
 */
export type ResolveResult = 'done' | 'exists' | 'invalid' | 'noPage' | 'noMemory';

/** Gives the page of `hva` a frame with these contents (UFFDIO_COPY). */
export function* copyPage(mm: Mm, hva: Hva, filling: Filling): Op<ResolveResult> {
  const frame = yield* allocateFilled(mm, filling);
  if (frame === NO_FRAME) return 'noMemory';
  yield* mm.mmapLock.readLock();
  const area = registered(mm, hva, 'missing');
  const result = area === null ? 'invalid' : yield* installFrame(mm, area, hva, frame);
  yield* mm.mmapLock.readUnlock();
  if (result === 'done') yield* wakePage(mm, hva);
  else yield* mm.pages.frames.put(frame);
  return result;
}

/** Maps the zero page (UFFDIO_ZEROPAGE): of private memory only. */
export function* zeroPage(mm: Mm, hva: Hva): Op<ResolveResult> {
  const frame = yield* mm.zero.page();
  if (frame === NO_FRAME) return 'noMemory';
  yield* mm.mmapLock.readLock();
  const area = registered(mm, hva, 'missing');
  const pte = hostPte(HostState.zero, mm.pages.numberOf(frame), HostFlag.young);
  const result = area?.isPrivate === true ? yield* install(mm, area, hva, pte) : 'invalid';
  yield* mm.mmapLock.readUnlock();
  if (result === 'done') yield* wakePage(mm, hva);
  return result;
}

/** Maps the page that the shared object has (UFFDIO_CONTINUE). */
export function* continuePage(mm: Mm, hva: Hva): Op<ResolveResult> {
  yield* mm.mmapLock.readLock();
  const area = registered(mm, hva, 'minor');
  const result = area === null ? 'invalid' : yield* continueIn(mm, area, hva);
  yield* mm.mmapLock.readUnlock();
  if (result === 'done') yield* wakePage(mm, hva);
  return result;
}

/** Wakes whoever waits for the page of `hva` (UFFDIO_WAKE), in every queue of its area. */
export function* wakePage(mm: Mm, hva: Hva): Op<void> {
  const area = mm.vmas.covering(hva);
  if (area === null) return;
  const range = { first: mm.pageNumber(hva), pages: 1 };
  for (const queue of mm.queuesOf(area)) yield* queue.wake(range);
}

/** The frame becomes the page's, or stays the caller's where there is one. */
function* installFrame(mm: Mm, area: VmArea, hva: Hva, frame: Phys): Op<ResolveResult> {
  const { pages } = mm;
  yield* pages.frames.own(frame, pages.ownerTag(area, hva));
  const flags = presentFlags(area) | HostFlag.dirty;
  const pte = hostPte(HostState.page, pages.numberOf(frame), flags);
  const result =
    area.kind === 'shared'
      ? yield* installShared(mm, area, hva, pte)
      : yield* install(mm, area, hva, pte);
  if (result !== 'done') yield* pages.frames.own(frame, 0);
  return result;
}

function* install(mm: Mm, area: VmArea, hva: Hva, pte: HostPte): Op<ResolveResult> {
  const { table } = mm;
  yield* table.lock.lock();
  const isEmpty = table.find(hva).pte === NO_PTE;
  if (isEmpty) {
    yield* table.setLocked(hva, LAST_LEVEL, pte);
    countResolvedLocked(mm, area, hva);
  }
  yield* table.lock.unlock();
  return isEmpty ? 'done' : 'exists';
}

/** The object has the frame, with the caller's reference, and the page is mapped. */
function* installShared(mm: Mm, area: VmArea, hva: Hva, pte: HostPte): Op<ResolveResult> {
  const { table, shared } = mm;
  const page = shared.pageOf(area, hva);
  yield* table.lock.lock();
  const isFirst = shared.find(page) === NO_PTE;
  if (isFirst) {
    shared.setLocked(page, withFlags(pte, 0));
    yield* mapSharedLocked(mm, hva, page, flagsOf(pte));
    countResolvedLocked(mm, area, hva);
  }
  yield* table.lock.unlock();
  return isFirst ? 'done' : 'exists';
}

/** Ends: each turn but the last waits for a move of the object's page. */
function* continueIn(mm: Mm, area: VmArea, hva: Hva): Op<ResolveResult> {
  const { table, shared } = mm;
  const page = shared.pageOf(area, hva);
  yield* table.lock.lock();
  while (stateOf(shared.find(page)) === HostState.migrating) {
    yield* awaitMoveLocked(mm);
    yield* table.lock.lock();
  }
  const isHeld = stateOf(shared.find(page)) === HostState.page;
  const isEmpty = table.find(hva).pte === NO_PTE;
  if (isHeld && isEmpty) {
    yield* mapSharedLocked(mm, hva, page, presentFlags(area));
    countResolvedLocked(mm, area, hva);
  }
  yield* table.lock.unlock();
  if (!isEmpty) return 'exists';
  return isHeld ? 'done' : 'noPage';
}

/** The mapped area of an address that is registered for this mode, or null. The mmap lock is held. */
function registered(mm: Mm, hva: Hva, mode: UserfaultMode): VmArea | null {
  const area = mm.vmas.at(hva);
  return area?.userfault?.mode === mode ? area : null;
}

function presentFlags(area: VmArea): number {
  return area.isWritable ? HostFlag.writable | HostFlag.young : HostFlag.young;
}

function countResolvedLocked(mm: Mm, area: VmArea, hva: Hva): void {
  mm.table.lock.assertHeld();
  if (area.userfault === null) return;
  const at = area.userfault.resolved + mm.table.pageIn(area.hva, hva) * 4;
  write32(at, read32(at) + 1);
}
