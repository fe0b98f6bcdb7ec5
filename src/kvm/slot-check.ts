/** What holds once a slot is gone (specification section 8, invariant 10), looked at where the change ends. */
import type { Op } from '#port';
import type { Outcome } from '../pgtable/outcome.ts';
import { Visit, walk, type VisitContext, type Visitor } from '../pgtable/walker.ts';
import type { IpaRange } from './range.ts';
import type { Vm } from './vm.ts';

/**
 * Nothing of a retired slot's range is mapped: nobody finds the slot any more, and whoever had found it has ended. Takes `mmu_lock`. A range
 * that is empty costs a walk of the tables above it.
 * @throws Error for a leaf: a bug of whoever unmapped the range.
 */
export function* assertUnmapped(vm: Vm, range: IpaRange): Op<void> {
  const { mmuLock } = vm.parts;
  yield* mmuLock.lock();
  const pgt = yield* vm.pgt();
  if (pgt !== null) yield* walk(pgt, range.ipa, range.bytes, new NoLeaf());
  yield* mmuLock.unlock();
}

class NoLeaf implements Visitor {
  readonly flags: number = Visit.leaf;

  // oxlint-disable-next-line require-yield -- other visitors do yield.
  *visit({ old, addr }: VisitContext): Op<Outcome> {
    if (old.isValid()) throw new Error(`IPA 0x${addr.toString(16)} is mapped, its slot is gone`);
    return 'ok';
  }
}
