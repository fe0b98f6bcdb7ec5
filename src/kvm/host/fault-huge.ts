/** Faulting in huge pages: transparent ones where a block fits and is empty, hugetlb ones always. */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { flagsFor, installIfEmpty, type FaultOutcome, type HostFault } from './host-fault.ts';
import { HostState, NO_PTE, hostPte } from './host-pte.ts';
import { mappingLevel } from './layout.ts';
import type { Mm } from './mm.ts';

/** Level of transparent huge pages. */
const BLOCK = 2;

/**
 * A huge page, or for a read the huge zero page. False: it must be a base page, because the block leaves the area, a page of it is there
 * already, or no frames lie together.
 */
export function* faultInTransparentHuge(mm: Mm, fault: HostFault): Op<boolean> {
  const { table, pages, zero, geometry } = mm;
  const { area, isWrite } = fault;
  const block = table.blockAt(fault.hva);
  if (!area.contains(block.hva, block.bytes)) return false;
  yield* table.lock.lock();
  const isEmpty = table.isEmptyBlockLocked(block.hva);
  yield* table.lock.unlock();
  if (!isEmpty) return false;
  const first = isWrite ? yield* pages.allocateBlock(geometry.entries) : yield* zero.huge();
  if (first === NO_FRAME) return false;
  if (isWrite) yield* pages.ownBlock(first, geometry.entries, pages.ownerTag(area, block.hva));
  const state = isWrite ? HostState.page : HostState.zero;
  const pte = hostPte(state, pages.numberOf(first), flagsFor(fault, false));
  const isInstalled = yield* installIfEmpty(mm, block.hva, BLOCK, pte);
  if (isWrite && !isInstalled) yield* pages.putBlock(first, geometry.entries);
  return true;
}

/**
 * A huge page of the area's size, mapped by one entry or several contiguous ones; `fault` (SIGBUS) without frames that lie together.
 *
 * Allocated under the page-table lock, which stands for the kernel's hugetlb fault mutex: otherwise of two that fault in the last huge
 * page, one has taken it, the other finds neither a page nor an entry, and kills its process.
 */
export function* faultInHugetlb(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  const { table } = mm;
  yield* table.lock.lock();
  const outcome =
    table.find(fault.hva).pte === NO_PTE ? yield* installHugetlbLocked(mm, fault) : 'ok';
  yield* table.lock.unlock();
  return outcome;
}

function* installHugetlbLocked(mm: Mm, fault: HostFault): Op<FaultOutcome> {
  const { table, pages, geometry } = mm;
  const { area } = fault;
  const start = fault.hva - ((fault.hva - area.hva) % area.hugeBytes);
  const count = area.hugeBytes / geometry.pageBytes;
  const first = yield* pages.allocateBlock(count);
  if (first === NO_FRAME) return 'fault';
  yield* pages.ownBlock(first, count, pages.ownerTag(area, start as Hva));
  const level = mappingLevel(geometry, area.hugeBytes);
  const bytes = geometry.sizeOf(level);
  for (let at = 0; at < area.hugeBytes; at += bytes) {
    const number = pages.numberOf(first) + at / geometry.pageBytes;
    const pte = hostPte(HostState.page, number, flagsFor(fault, true));
    yield* table.setLocked((start + at) as Hva, level, pte);
  }
  return 'ok';
}
