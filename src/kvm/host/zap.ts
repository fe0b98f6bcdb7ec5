/** Emptying a range of the page table. */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { HostState, NO_PTE, numberOf, stateOf } from './host-pte.ts';
import type { HostEntry } from './host-table.ts';
import type { Mm } from './mm.ts';
import type { HvaRange } from './mmu-notifier.ts';
import { isPartial, splitIfPartial } from './split.ts';
import { swapPlace } from './swap-in.ts';

/**
 * Empties all entries of a range and gives back what they held. The mmap lock is held; the caller announces the change. Frames are given
 * back without the page-table lock, a block of level 2 after the other.
 */
export function* zapRange(mm: Mm, range: HvaRange): Op<void> {
  const { table } = mm;
  const end = range.hva + range.bytes;
  for (let from: number = range.hva; from < end;) {
    const block = table.blockAt(from as Hva);
    const stop = Math.min(end, block.hva + block.bytes);
    yield* splitIfPartial(mm, range, from as Hva);
    yield* table.lock.lock();
    const gone = yield* takeLocked(mm, range, from as Hva, stop);
    yield* table.lock.unlock();
    for (const entry of gone.entries) yield* releaseEntry(mm, entry);
    from = gone.next;
  }
}

/** Empties the entries from `from` on: up to `stop`, or to a huge page that was faulted in since and has to be split. */
function* takeLocked(mm: Mm, range: HvaRange, from: Hva, stop: number): Op<Taken> {
  const { table } = mm;
  const entries: HostEntry[] = [];
  let next: number = from;
  while (next < stop) {
    const entry = table.find(next as Hva);
    if (isPartial(mm, range, entry)) break;
    if (entry.pte !== NO_PTE) {
      yield* table.setLocked(entry.hva, entry.level, NO_PTE);
      entries.push(entry);
    }
    next = entry.hva + table.rangeOf(entry).bytes;
  }
  return { entries, next };
}

interface Taken {
  readonly entries: readonly HostEntry[];
  /** Where to go on. */
  readonly next: number;
}

/** A page that is being moved or is poisoned belongs to the mover, or to nobody. */
function* releaseEntry(mm: Mm, entry: HostEntry): Op<void> {
  const { pages, geometry } = mm;
  const state = stateOf(entry.pte);
  if (state === HostState.swapped) yield* mm.swap.put(swapPlace(mm, entry));
  if (state !== HostState.page) return;
  const first = pages.frameOf(numberOf(entry.pte));
  const count = geometry.sizeOf(entry.level) / geometry.pageBytes;
  for (let i = 0; i < count; i++) yield* pages.release(pages.next(first, i));
}
