/** What the host does to a VM's memory: dirty logging's write-protection, and taking pages away. */
import type { Op } from '#port';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import { discardRange } from './host/discard.ts';
import type { Memslot } from './memslots.ts';
import { applyRangeLocked, type RangeOperation } from './range.ts';
import type { Stage2Operations } from './stage2-operations.ts';
import type { Vm } from './vm.ts';

class Wrprotect implements RangeOperation {
  readonly #stage2: Stage2Operations;

  constructor(stage2: Stage2Operations) {
    this.#stage2 = stage2;
  }

  *apply(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* this.#stage2.wrprotect(pgt, ipa, size);
  }
}

class Unmap implements RangeOperation {
  readonly #stage2: Stage2Operations;

  constructor(stage2: Stage2Operations) {
    this.#stage2 = stage2;
  }

  *apply(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* this.#stage2.unmap(pgt, ipa, size);
  }
}

/**
 * Turns dirty logging on and write-protects the slot (specification section 5J): the flag first, so that no later fault grants W
 * for a read; then W off everywhere; then, the lock released, one flush before anything relies on it.
 */
export function* enableDirtyLog(vm: Vm, slot: Memslot): Op<void> {
  yield* slot.enableLogging();
  const { mmuLock, mmu, stage2 } = vm.parts;
  const range = { ipa: slot.ipa, size: slot.bytes };
  yield* mmuLock.lock();
  const outcome = yield* applyRangeLocked(vm, range, new Wrprotect(stage2));
  yield* mmuLock.unlock();
  if (outcome !== 'ok') throw new Error(`write-protecting a slot: ${outcome}`);
  yield* mmu.tlbFlushVmid();
}

/** The host takes a slot's pages back (MADV_DONTNEED): notifier start, unmap, free, end. Unmapping flushed the TLBs itself. */
export function* discardSlot(vm: Vm, slot: Memslot): Op<void> {
  const { mmuLock, notifier, host, stage2 } = vm.parts;
  const range = { ipa: slot.ipa, size: slot.bytes };
  yield* mmuLock.lock();
  yield* notifier.startLocked();
  const outcome = yield* applyRangeLocked(vm, range, new Unmap(stage2));
  yield* mmuLock.unlock();
  if (outcome !== 'ok') throw new Error(`unmapping a slot: ${outcome}`);
  const discarded = yield* discardRange(host.mm, { hva: slot.layout.hva, bytes: slot.bytes });
  if (discarded !== 'done') throw new Error(`discarding a slot: ${discarded}`);
  yield* mmuLock.lock();
  yield* notifier.endLocked();
  yield* mmuLock.unlock();
}
