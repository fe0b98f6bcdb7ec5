/** Operations over long ranges under `mmu_lock` (specification section 5H). */
import type { Op } from '#port';
import type { Vm } from './vm.ts';

/** Bytes of guest physical memory: whole pages. */
export interface IpaRange {
  readonly ipa: number;
  readonly bytes: number;
}

/** What can be done to a range of a table, by its name in `Stage2Operations`. */
export type RangeOperation = 'unmap' | 'wrprotect' | 'flush';

/** Whether waiters may have `mmu_lock` between two chunks; a notifier that may not block keeps it. */
export type Chunking = 'yielding' | 'holding';

/**
 * Applies an operation chunk by chunk (`Stage2Operations.chunkBytes` each). `mmu_lock` is held on entry and on return. False once the table is
 * gone: teardown may run whenever the lock is free, and takes what is left of the range with it. None of the operations can fail otherwise.
 */
export function* applyRangeLocked(
  vm: Vm,
  range: IpaRange,
  operation: RangeOperation,
  chunking: Chunking,
): Op<boolean> {
  const { mmuLock, stage2 } = vm.parts;
  mmuLock.assertHeld();
  const end = range.ipa + range.bytes;
  let next = range.ipa;
  for (;;) {
    const pgt = yield* vm.pgt();
    if (pgt === null) return false;
    const chunk = next;
    const chunkBytes = stage2.chunkBytes(pgt);
    next = Math.min(end, chunk - (chunk % chunkBytes) + chunkBytes);
    const outcome = yield* stage2[operation](pgt, chunk, next - chunk);
    if (outcome !== 'ok') throw new Error(`${operation} of a slot: ${outcome}`);
    if (next >= end) return true;
    if (chunking === 'yielding' && (yield* mmuLock.isContended())) {
      yield* mmuLock.unlock();
      yield* mmuLock.lock();
    }
  }
}

/** The same for one who does not hold the lock yet, in yielding chunks. */
export function* applyRange(vm: Vm, range: IpaRange, operation: RangeOperation): Op<void> {
  const { mmuLock } = vm.parts;
  yield* mmuLock.lock();
  yield* applyRangeLocked(vm, range, operation, 'yielding');
  yield* mmuLock.unlock();
}
