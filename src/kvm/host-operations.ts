/** What the host does to a VM's memory: dirty logging's write-protection, and taking pages away. */
import type { Op } from '#port';
import type { Gfn } from '../machine/address.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import { stage2Wrprotect } from '../pgtable/stage2-attributes.ts';
import { stage2Unmap } from '../pgtable/stage2-unmap.ts';
import type { Memslot } from './memslots.ts';
import { applyRangeLocked, type RangeOperation } from './range.ts';
import type { Vm } from './vm.ts';

class Wrprotect implements RangeOperation {
  *apply(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Wrprotect(pgt, ipa, size);
  }
}

class Unmap implements RangeOperation {
  *apply(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Unmap(pgt, ipa, size);
  }
}

/**
 * Turns dirty logging on and write-protects the slot (specification section 5J): the flag first, so that no later fault grants W
 * for a read; then W off everywhere; then, the lock released, one flush before anything relies on it.
 */
export function* enableDirtyLog(vm: Vm, slot: Memslot): Op<void> {
  yield* slot.enableLogging();
  yield* vm.parts.mmuLock.lock();
  const outcome = yield* applyRangeLocked(vm, { ipa: slot.ipa, size: slot.bytes }, new Wrprotect());
  yield* vm.parts.mmuLock.unlock();
  if (outcome !== 'ok') throw new Error(`write-protecting a slot: ${outcome}`);
  yield* vm.parts.mmu.tlbFlushVmid();
}

/** The host takes a slot's pages back (MADV_DONTNEED): notifier start, unmap, free, end. Unmapping flushed the TLBs itself. */
export function* discardSlot(vm: Vm, slot: Memslot): Op<void> {
  const { mmuLock, notifier, host } = vm.parts;
  yield* mmuLock.lock();
  yield* notifier.startLocked();
  const outcome = yield* applyRangeLocked(vm, { ipa: slot.ipa, size: slot.bytes }, new Unmap());
  yield* mmuLock.unlock();
  if (outcome !== 'ok') throw new Error(`unmapping a slot: ${outcome}`);
  for (let page = 0; page < slot.layout.pages; page++) {
    yield* host.discard(slot.hvaOf((slot.layout.baseGfn + page) as Gfn));
  }
  yield* mmuLock.lock();
  yield* notifier.endLocked();
  yield* mmuLock.unlock();
}
