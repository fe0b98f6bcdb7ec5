import type { Op } from '#port';
import { breakEntry } from './entry.ts';
import { childOf, type Pgtable } from './pgtable.ts';
import type { VisitContext } from './walker.ts';

/** A table's removal takes walk-cache entries with it: no level hint may narrow that (the fix of 6.9, applied here). */
const TABLE_REMOVED = 0;

/**
 * Frees the table of a visited entry if none of its own entries is counted: for a visit after the children, at either stage. The page is
 * given back only once the TLBI is complete.
 */
export function* removeTableIfEmpty(pgt: Pgtable, context: VisitContext): Op<void> {
  const { ops } = pgt;
  const child = childOf(pgt, context.old);
  if ((yield* ops.pageCount(child)) !== 1) return;
  yield* breakEntry(pgt, context, TABLE_REMOVED);
  yield* ops.putPage(context.entry);
  yield* ops.putPage(child);
}
