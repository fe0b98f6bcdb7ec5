import type { Op } from '#port';
import { breakEntry } from './entry.ts';
import { UNKNOWN_LEVEL } from './mm-ops.ts';
import { childOf, type Pgtable } from './pgtable.ts';
import type { VisitContext } from './walker.ts';

/**
 * Frees the table of a visited entry if none of its own entries is counted: for a visit after the children, at either stage. The page is
 * given back only once the TLBI is complete.
 */
export function* removeTableIfEmpty(pgt: Pgtable, context: VisitContext): Op<void> {
  const { ops } = pgt;
  const child = childOf(pgt, context.old);
  if ((yield* ops.pageCount(child)) !== 1) return;
  // Walk-cache entries have to go too: no level may narrow that (the fix of 6.9, applied here).
  yield* breakEntry(pgt, context, UNKNOWN_LEVEL);
  yield* ops.putPage(context.entry);
  yield* ops.putPage(child);
}
