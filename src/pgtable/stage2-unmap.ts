/** Unmapping a range at stage 2 (specification section 4.7). */
import type { Op } from '#port';
import { breakEntry } from './entry.ts';
import type { Outcome } from './outcome.ts';
import type { Stage2Pgtable } from './pgtable.ts';
import { removeTableIfEmpty } from './table-removal.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/**
 * Removes every leaf that intersects [`ipa`, `ipa + size`), a partly covered block as a whole, and frees the tables that become
 * empty. TLB maintenance is complete on return; the memory of cacheable leaves is cleaned to the point of coherency.
 */
export function* stage2Unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
  return yield* walk(pgt, ipa, size, new Stage2Unmap(pgt));
}

class Stage2Unmap implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePost;
  readonly #pgt: Stage2Pgtable;

  constructor(pgt: Stage2Pgtable) {
    this.#pgt = pgt;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (!context.old.isValid()) return 'ok';
    if (reason === Visit.tablePost) yield* removeTableIfEmpty(this.#pgt, context);
    else yield* this.#removeLeaf(context);
    return 'ok';
  }

  *#removeLeaf(context: VisitContext): Op<void> {
    const { entry, old, level } = context;
    const { ops, geometry, attributes } = this.#pgt;
    yield* breakEntry(this.#pgt, context, level);
    yield* ops.putPage(entry);
    if (attributes.needsCleaning(old))
      yield* ops.dcacheCleanInvalidate(old.address(geometry), geometry.sizeOf(level));
  }
}
