/** Cache maintenance over a range (specification section 4.10). */
import type { Op } from '#port';
import type { Outcome } from './outcome.ts';
import type { Pgtable } from './pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/**
 * Cleans and invalidates, to the point of coherency, the memory of every cacheable leaf that intersects [`ipa`, `ipa + size`): the
 * leaf's whole memory, also where the range covers part of it. Changes no entry. The op is a no-op on a machine with FWB.
 */
export function* stage2Flush(pgt: Pgtable, ipa: number, size: number): Op<Outcome> {
  return yield* walk(pgt, ipa, size, new Stage2Flush(pgt));
}

class Stage2Flush implements Visitor {
  readonly flags = Visit.leaf;
  readonly #pgt: Pgtable;

  constructor(pgt: Pgtable) {
    this.#pgt = pgt;
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old, level } = context;
    if (!old.isValid() || !old.isCacheable()) return 'ok';
    const { ops, geometry } = this.#pgt;
    yield* ops.dcacheCleanInvalidate(old.address(), geometry.sizeOf(level));
    return 'ok';
  }
}
