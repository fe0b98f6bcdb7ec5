/** Unmapping a range at stage 2 in the form of 6.12 (specification section 4.7). Exclusive. */
import type { Op } from '#port';
import { EMPTY } from '../../machine/descriptor.ts';
import { isCounted } from '../invalid-entry.ts';
import { UNKNOWN_LEVEL } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import { childOf, type Stage2Pgtable } from '../pgtable.ts';
import { Visit, WalkFlag, walk, type VisitContext, type Visitor } from '../walker.ts';
import { EXCLUSIVE } from './entry-update.ts';

/**
 * Empties every entry that intersects [`ipa`, `ipa + size`), a partly covered block as a whole, owners too, and frees the tables that
 * become empty. TLB maintenance is complete on return: for leaves one invalidation of the range, where the machine has that and no
 * memory waits to be cleaned. The memory of cacheable leaves is cleaned to the point of coherency.
 */
export function* stage2Unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
  if (!pgt.attributes.fwb || !pgt.ops.hasRangeTlbi) return yield* stage2UnmapEach(pgt, ipa, size);
  const outcome = yield* walk(pgt, ipa, size, new Stage2Unmap(pgt, true));
  yield* pgt.ops.tlbFlushRange(ipa, size);
  return outcome;
}

/** The same with an invalidation for each leaf: the form of 5.13 to 6.5. */
export function* stage2UnmapEach(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
  return yield* walk(pgt, ipa, size, new Stage2Unmap(pgt, false));
}

class Stage2Unmap implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePost | WalkFlag.parallel;
  readonly #pgt: Stage2Pgtable;
  /** Leaves are invalidated after the walk. */
  readonly #isDeferred: boolean;

  constructor(pgt: Stage2Pgtable, isDeferred: boolean) {
    this.#pgt = pgt;
    this.#isDeferred = isDeferred;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (reason === Visit.tablePost) yield* this.#removeTableIfEmpty(context);
    else if (isCounted(context.old)) yield* this.#removeLeaf(context);
    return 'ok';
  }

  *#removeTableIfEmpty(context: VisitContext): Op<void> {
    const { ops } = this.#pgt;
    const child = childOf(this.#pgt, context.old);
    if ((yield* ops.pageCount(child)) !== 1) return;
    yield* EXCLUSIVE.tryStore(context, EMPTY);
    // At once and without a level: walk-cache entries have to go, and the page is reused.
    yield* ops.tlbFlushIpa(context.addr, UNKNOWN_LEVEL);
    yield* ops.putPage(context.entry);
    yield* ops.putPage(child);
  }

  /** A leaf, or an owner, which nothing caches. */
  *#removeLeaf(context: VisitContext): Op<void> {
    const { entry, old, addr, level } = context;
    const { ops, geometry, attributes } = this.#pgt;
    yield* EXCLUSIVE.tryStore(context, EMPTY);
    if (old.isValid() && !this.#isDeferred) yield* ops.tlbFlushIpa(addr, level);
    yield* ops.putPage(entry);
    if (old.isValid() && attributes.needsCleaning(old))
      yield* ops.dcacheCleanInvalidate(old.address(geometry), geometry.sizeOf(level));
  }
}
