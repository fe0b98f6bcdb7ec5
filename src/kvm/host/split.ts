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

/** Splits the blocks that a range holds only a part of. */
export function* splitEdges(mm: Mm, { hva, bytes }: HvaRange): Op<void> {
  yield* splitAt(mm, hva);
  yield* splitAt(mm, (hva + bytes) as Hva);
}

export function isTransparentBlock(mm: Mm, entry: HostEntry): boolean {
  if (entry.level === LAST_LEVEL || entry.pte === NO_PTE) return false;
  return mm.vmas.covering(entry.hva)?.kind === 'transparentHuge';
}

function* splitAt(mm: Mm, hva: Hva): Op<void> {
  if (mm.table.blockAt(hva).hva === hva || mm.vmas.covering(hva) === null) return;
  const entry = yield* mm.table.load(hva);
  if (isTransparentBlock(mm, entry)) yield* splitBlock(mm, hva);
}

function* splitLocked(mm: Mm, entry: HostEntry): Op<void> {
  const { table, geometry } = mm;
  yield* table.setLocked(entry.hva, entry.level, NO_PTE);
  for (let i = 0; i < geometry.entries; i++) {
    const pte = hostPte(stateOf(entry.pte), numberOf(entry.pte) + i, flagsOf(entry.pte));
    yield* table.setLocked((entry.hva + i * geometry.pageBytes) as Hva, LAST_LEVEL, pte);
  }
}
