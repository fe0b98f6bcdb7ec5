/** Eager splitting of blocks (specification section 4.11). */
import type { Op } from '#port';
import type { Level } from '../../machine/address.ts';
import { Descriptor, NO_ATTRIBUTES } from '../../machine/descriptor.ts';
import { LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { ACCESS_FLAG } from '../stage2-attributes.ts';
import { Visit, WalkFlag, walk, type VisitContext, type Visitor } from '../walker.ts';
import { lost, makeEntry, tryBreakEntry, updateFor, type EntryUpdate } from './entry-update.ts';
import { stage2CreateUnlinked, stage2FreeUnlinked } from './unlinked.ts';

/** A cache that says how many pages it has. */
export interface CountedCache extends TableCache {
  readonly pages: number;
}

export interface SplitRequest {
  readonly ipa: number;
  readonly size: number;
  readonly cache: CountedCache;
  /** Of `WalkFlag`. */
  readonly flags: number;
}

/**
 * Splits the blocks that intersect a range into pages of the same memory and attributes, all of them young; no translation is lost but
 * for the break. With too few pages in the cache for a block's whole subtree, level by level. `noMemory` when it is empty: blocks before
 * stay split. `again` (with `handleFault`) where another walk changed the block first.
 */
export function* stage2Split(pgt: Stage2Pgtable, request: SplitRequest): Op<Outcome> {
  const outcome = yield* walk(pgt, request.ipa, request.size, new Split(pgt, request));
  yield* pgt.ops.publishEntries();
  return outcome;
}

class Split implements Visitor {
  readonly flags: number;
  readonly #pgt: Stage2Pgtable;
  readonly #cache: CountedCache;
  readonly #update: EntryUpdate;

  constructor(pgt: Stage2Pgtable, { cache, flags }: SplitRequest) {
    this.flags = Visit.leaf | WalkFlag.parallel | flags;
    this.#pgt = pgt;
    this.#cache = cache;
    this.#update = updateFor(flags);
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old, level } = context;
    if (level === LAST_LEVEL || !old.isValid()) return 'ok';
    const { geometry, ops } = this.#pgt;
    const child = yield* stage2CreateUnlinked(this.#pgt, {
      phys: old.address(geometry),
      level,
      attributes: old.withAttributes(ACCESS_FLAG, NO_ATTRIBUTES).attributes(geometry),
      isPagesOnly: this.#cache.pages >= subtreePages(geometry, level),
      cache: this.#cache,
    });
    if (typeof child === 'string') return child;
    if (!(yield* tryBreakEntry(this.#pgt, context, this.#update))) {
      yield* stage2FreeUnlinked(this.#pgt, ops.wordOf(child), level);
      return lost(this.#pgt, context);
    }
    yield* makeEntry(this.#pgt, context, Descriptor.table(geometry, child));
    return 'ok';
  }
}

/** Table pages that map what a block of `level` does by pages. */
function subtreePages(geometry: Geometry, level: Level): number {
  let pages = 1;
  for (let at = level + 1; at < LAST_LEVEL; at++) pages = 1 + geometry.entries * pages;
  return pages;
}
