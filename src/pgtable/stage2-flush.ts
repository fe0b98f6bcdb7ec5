/** Cache maintenance over a range (specification section 4.10). */
import type { Op } from '#port';
import type { Outcome } from './outcome.ts';
import type { Stage2Pgtable } from './pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/**
 * Cleans and invalidates, to the point of coherency, the memory of every cacheable leaf that intersects [`ipa`, `ipa + size`): the
 * leaf's whole memory, also where the range covers part of it. Changes no entry. Without a walk on a machine with FWB.
 */
export function* stage2Flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
  if (pgt.attributes.fwb) return 'ok';
  return yield* walk(pgt, ipa, size, new Stage2Flush(pgt));
}

class Stage2Flush implements Visitor {
  readonly flags = Visit.leaf;
  readonly #pgt: Stage2Pgtable;

  constructor(pgt: Stage2Pgtable) {
    this.#pgt = pgt;
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old, level } = context;
    const { ops, geometry, attributes } = this.#pgt;
    if (!old.isValid() || !attributes.needsCleaning(old)) return 'ok';
    yield* ops.dcacheCleanInvalidate(old.address(geometry), geometry.sizeOf(level));
    return 'ok';
  }
}
