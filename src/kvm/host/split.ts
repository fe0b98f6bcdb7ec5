/** Splitting a transparent huge page into base pages: the same frames, mapped one by one. */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { NO_PTE, flagsOf, hostPte, numberOf, stateOf } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import type { HvaRange } from './mmu-notifier.ts';

/** Splits the block around `hva`, if it is one; of hugetlb none is. Whether it did. Announced for the whole block. */
export function* splitBlock(mm: Mm, hva: Hva): Op<boolean> {
  const { table, notifier } = mm;
  const block = table.blockAt(hva);
  yield* notifier.invalidateRangeStart(block, true);
  yield* table.lock.lock();
  const entry = table.find(block.hva);
  const isBlock = isTransparentBlock(mm, entry);
  if (isBlock) yield* splitLocked(mm, entry);
  yield* table.lock.unlock();
  yield* notifier.invalidateRangeEnd(block);
  return isBlock;
}

/**
 * Splits the huge page at `hva` if a range holds only a part of it: inside the range's own invalidation, for it may have been faulted in
 * just before.
 */
export function* splitIfPartial(mm: Mm, range: HvaRange, hva: Hva): Op<void> {
  if (isPartial(mm, range, yield* mm.table.load(hva))) yield* splitBlock(mm, hva);
}

/** Whether the entry is a transparent huge page that reaches beyond the range. */
export function isPartial(mm: Mm, range: HvaRange, entry: HostEntry): boolean {
  const { hva, bytes } = mm.table.rangeOf(entry);
  const isInside = hva >= range.hva && hva + bytes <= range.hva + range.bytes;
  return !isInside && isTransparentBlock(mm, entry);
}

export function isTransparentBlock(mm: Mm, entry: HostEntry): boolean {
  if (entry.level === LAST_LEVEL || entry.pte === NO_PTE) return false;
  return mm.vmas.covering(entry.hva)?.kind === 'transparentHuge';
}

function* splitLocked(mm: Mm, entry: HostEntry): Op<void> {
  const { table, geometry } = mm;
  yield* table.setLocked(entry.hva, entry.level, NO_PTE);
  for (let i = 0; i < geometry.entries; i++) {
    const pte = hostPte(stateOf(entry.pte), numberOf(entry.pte) + i, flagsOf(entry.pte));
    yield* table.setLocked((entry.hva + i * geometry.pageBytes) as Hva, LAST_LEVEL, pte);
  }
}
