/** Taking pages or permissions of a range away, while its area stays. */
import type { Op } from '#port';
import { HostFlag, flagsOf, withFlags } from './host-pte.ts';
import type { HostResult, Mm } from './mm.ts';
import type { HvaRange } from './mmu-notifier.ts';
import { isPartial, splitIfPartial } from './split.ts';
import type { VmArea } from './vma.ts';
import { zapRange } from './zap.ts';
import type { Hva } from '../../machine/address.ts';

/**
 * Frees the pages of a range (MADV_DONTNEED); those of the shared object are only unmapped. `mayBlock` false: as the out-of-memory reaper
 * does it. `invalid` unless the range lies in one area, which is neither hugetlb nor device memory.
 */
export function* discardRange(mm: Mm, range: HvaRange, mayBlock: boolean = true): Op<HostResult> {
  yield* mm.mmapLock.readLock();
  const area = areaOf(mm, range);
  const isValid = area !== null && area.kind !== 'hugetlb' && area.kind !== 'pfnmap';
  if (isValid) {
    yield* mm.notifier.invalidateRangeStart(range, mayBlock);
    yield* zapRange(mm, range);
    yield* mm.notifier.invalidateRangeEnd(range);
  }
  yield* mm.mmapLock.readUnlock();
  return isValid ? 'done' : 'invalid';
}

/** Makes the entries of a range read-only; the area's permission stays, so the next write of a page asks again. */
export function* writeProtectRange(mm: Mm, range: HvaRange): Op<HostResult> {
  yield* mm.mmapLock.readLock();
  const area = areaOf(mm, range);
  if (area !== null) yield* clearWritable(mm, range);
  yield* mm.mmapLock.readUnlock();
  return area === null ? 'invalid' : 'done';
}

/** Takes W from all entries of a range, announced. The mmap lock is held. */
export function* clearWritable(mm: Mm, range: HvaRange): Op<void> {
  const { table } = mm;
  yield* mm.notifier.invalidateRangeStart(range, true);
  const end = range.hva + range.bytes;
  for (let from: number = range.hva; from < end;) {
    yield* splitIfPartial(mm, range, from as Hva);
    yield* table.lock.lock();
    const entry = table.find(from as Hva);
    const { hva, level, pte } = entry;
    const readOnly = withFlags(pte, flagsOf(pte) & ~HostFlag.writable);
    const isWhole = !isPartial(mm, range, entry);
    if (isWhole && readOnly !== pte) yield* table.setLocked(hva, level, readOnly);
    yield* table.lock.unlock();
    if (isWhole) from = hva + mm.geometry.sizeOf(level);
  }
  yield* mm.notifier.invalidateRangeEnd(range);
}

function areaOf(mm: Mm, { hva, bytes }: HvaRange): VmArea | null {
  const area = mm.vmas.at(hva);
  return area?.contains(hva, bytes) === true ? area : null;
}
