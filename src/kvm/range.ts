/** Operations over long ranges under `mmu_lock` (specification section 5H). */
import type { Op } from '#port';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Pgtable, Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { Vm } from './vm.ts';

/** An operation on one chunk of a range, by a small object instead of a closure. */
export interface RangeOperation {
  apply(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome>;
}

/**
 * Applies an operation chunk by chunk (an entry of the start level each), letting waiters have the lock between chunks. `mmu_lock` is
 * held on entry and on return. `invalid` once the table is gone: teardown may run whenever the lock is free.
 */
export function* applyRangeLocked(
  vm: Vm,
  range: { readonly ipa: number; readonly size: number },
  operation: RangeOperation,
): Op<Outcome> {
  const { mmuLock } = vm.parts;
  mmuLock.assertHeld();
  const end = range.ipa + range.size;
  let next = range.ipa;
  for (;;) {
    const pgt = yield* vm.pgt();
    if (pgt === null) return 'invalid';
    const chunk = next;
    next = Math.min(end, chunkEnd(pgt, chunk));
    const outcome = yield* operation.apply(pgt, chunk, next - chunk);
    if (outcome !== 'ok' || next >= end) return outcome;
    if (yield* mmuLock.isContended()) {
      yield* mmuLock.unlock();
      yield* mmuLock.lock();
    }
  }
}

function chunkEnd(pgt: Pgtable, ipa: number): number {
  return pgt.geometry.alignDown(ipa, pgt.startLevel) + pgt.geometry.sizeOf(pgt.startLevel);
}
