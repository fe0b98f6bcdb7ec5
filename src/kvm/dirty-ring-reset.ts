/**
 * The reset of dirty rings (KVM_RESET_DIRTY_RINGS): entries that user space has harvested are free again, and their pages write-protected
 * before this returns. User space copies the pages afterwards; before, it would lose the writes of
 *  1. user space takes the entry of page 5 and copies page 5;
 *  2. vCPU 0 writes page 5, which still has W;
 *  3. the reset takes W; nobody copies page 5 again.
 */
import type { Op } from '#port';
import type { DirtyEntry, DirtyRing } from './dirty-ring.ts';
import { applyRangeLocked } from './range.ts';
import type { Vm } from './vm.ts';

/** Neighbours are protected together: pages of one slot that lie within so many. */
const BATCH_PAGES = 64;

interface Batch {
  readonly slot: number;
  readonly first: number;
  readonly last: number;
}

/** Resets all rings of a VM; the number of entries. Takes `slots_lock`. */
export function* resetDirtyRings(vm: Vm, rings: readonly DirtyRing[]): Op<number> {
  const { slotsLock } = vm.parts.memslots;
  yield* slotsLock.lock();
  let entries = 0;
  for (const ring of rings) entries += yield* resetRing(vm, ring);
  if (entries > 0) yield* vm.parts.mmu.tlbFlushVmid();
  yield* slotsLock.unlock();
  return entries;
}

function* resetRing(vm: Vm, ring: DirtyRing): Op<number> {
  let batch: Batch | null = null;
  let entries = 0;
  for (;;) {
    const entry: DirtyEntry | null = yield* ring.take();
    const joined: Batch | null = entry === null ? null : joinedTo(batch, entry);
    if (batch !== null && joined === null) yield* protect(vm, batch);
    if (entry === null) return entries;
    batch = joined ?? { slot: entry.slot, first: entry.offset, last: entry.offset };
    entries++;
  }
}

/** The batch with one more page, or null if that lies too far off. */
function joinedTo(batch: Batch | null, { slot, offset }: DirtyEntry): Batch | null {
  if (batch === null || batch.slot !== slot) return null;
  const first = Math.min(batch.first, offset);
  const last = Math.max(batch.last, offset);
  return last - first < BATCH_PAGES ? { slot, first, last } : null;
}

/** A slot that is gone, or another one by now, has nothing to protect there. */
function* protect(vm: Vm, { slot: id, first, last }: Batch): Op<void> {
  const { memslots, mmuLock } = vm.parts;
  const slot = yield* memslots.byIdLocked(id);
  if (slot === undefined || last >= slot.pages) return;
  const range = {
    ipa: slot.ipa + first * slot.pageBytes,
    bytes: (last - first + 1) * slot.pageBytes,
  };
  yield* mmuLock.lock();
  yield* applyRangeLocked(vm, range, 'wrprotect', 'holding');
  yield* mmuLock.unlock();
}
