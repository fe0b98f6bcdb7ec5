/**
 * The host's own page faults: what is done until an entry allows an access. Each function looks, works without the page-table lock where
 * it allocates or copies, then looks again under it; who lost a race undoes its part and the loop looks once more.
 *
 * The mmap lock is held for reading. A fault waits with it for a page that is being moved: whoever moves pages never takes that lock.
 */
import type { Op } from '#port';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { makeWritable } from './copy-on-write.ts';
import { faultInShared } from './fault-shared.ts';
import { faultInHugetlb, faultInTransparentHuge } from './fault-huge.ts';
import {
  HostState,
  flagsOf,
  hostPte,
  isWritable,
  stateOf,
  withFlags,
  type HostPte,
} from './host-pte.ts';
import {
  awaitMoveLocked,
  flagsFor,
  installIfEmpty,
  type FaultOutcome,
  type HostFault,
} from './host-fault.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import { unpinned, type Pinned } from './pinned.ts';
import { swapIn } from './swap-in.ts';
import { isUserfaultLocked } from './userfault.ts';
import type { VmaKind } from './vma.ts';

/**
 * Makes the page of a fault present and pins it. Ends: each turn but the last either installed something or met another agent's change.
 */
export function* faultAndPin(mm: Mm, fault: HostFault): Op<Pinned> {
  const { table } = mm;
  for (;;) {
    yield* table.lock.lock();
    const entry = table.find(fault.hva);
    if (isPinnable(entry.pte) && (!fault.isWrite || isWritable(entry.pte))) {
      const pinned = yield* pinLocked(mm, fault, entry);
      yield* table.lock.unlock();
      return pinned;
    }
    const outcome = yield* resolveLocked(mm, fault, entry);
    if (outcome !== 'ok') return unpinned(outcome);
  }
}

function isPinnable(pte: HostPte): boolean {
  const state = stateOf(pte);
  return state === HostState.page || state === HostState.zero || state === HostState.device;
}

function* pinLocked(mm: Mm, fault: HostFault, entry: HostEntry): Op<Pinned> {
  const { table, pages } = mm;
  const { level, pte } = entry;
  const seen = withFlags(pte, flagsOf(pte) | flagsFor(fault, false));
  if (seen !== pte) yield* table.setLocked(fault.hva, level, seen);
  if (stateOf(pte) === HostState.device) {
    const frame = table.physAt(entry, fault.hva);
    return { status: 'device', frame, isWritable: isWritable(pte), level };
  }
  const frame = pages.frameOf(table.numberAt(entry, fault.hva));
  yield* pages.frames.pin(frame);
  return { status: 'page', frame, isWritable: isWritable(pte), level };
}

/** Does the next thing about an entry that does not allow the access. Drops the lock. */
function* resolveLocked(mm: Mm, fault: HostFault, entry: HostEntry): Op<FaultOutcome> {
  const state = stateOf(entry.pte);
  if (state === HostState.migrating) return yield* awaitMoveLocked(mm);
  const isUserfault = state === HostState.none && isUserfaultLocked(mm, fault);
  yield* mm.table.lock.unlock();
  if (isUserfault) return 'userfault';
  if (state === HostState.none) return yield* FAULT_IN[fault.area.kind](mm, fault);
  if (state === HostState.swapped) return yield* swapIn(mm, fault, entry);
  if (state === HostState.poisoned) return 'poisoned';
  return yield* makeWritable(mm, fault, entry);
}

/** What is done about an empty entry, by kind of area. */
const FAULT_IN: Readonly<Record<VmaKind, (mm: Mm, fault: HostFault) => Op<FaultOutcome>>> = {
  anonymous: faultInAnonymous,
  transparentHuge: faultInHugeOrAnonymous,
  hugetlb: faultInHugetlb,
  shared: faultInShared,
  pfnmap: faultInDevice,
};

function* faultInHugeOrAnonymous(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  if (yield* faultInTransparentHuge(mm, fault)) return 'ok';
  return yield* faultInAnonymous(mm, fault);
}

/** A fresh page for a write, the zero page for a read. */
function* faultInAnonymous(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  const { pages, zero } = mm;
  const { area, hva, isWrite } = fault;
  const frame = isWrite ? yield* pages.allocate() : yield* zero.page();
  if (frame === NO_FRAME) return 'noMemory';
  if (isWrite) yield* pages.frames.own(frame, pages.ownerTag(area, hva));
  const state = isWrite ? HostState.page : HostState.zero;
  const pte = hostPte(state, pages.numberOf(frame), flagsFor(fault, false));
  const isInstalled = yield* installIfEmpty(mm, hva, LAST_LEVEL, pte);
  if (isWrite && !isInstalled) yield* pages.frames.put(frame);
  return 'ok';
}

/** A device's pages are there from the beginning; entries come when they are used. */
function* faultInDevice(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  const { area, hva } = fault;
  const number = area.pgoff + mm.table.pageIn(area.hva, hva);
  const pte = hostPte(HostState.device, number, flagsFor(fault, true));
  yield* installIfEmpty(mm, hva, LAST_LEVEL, pte);
  return 'ok';
}
