/** Subtrees that hang in no table: built before they are linked, freed after they were replaced (specification section 4.13). */
import type { Op, Word } from '#port';
import type { Level, Phys } from '../../machine/address.ts';
import type { Attributes, Descriptor } from '../../machine/descriptor.ts';
import { isCounted, isLocked } from '../invalid-entry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import { NO_PGD, type Pgtable, type Stage2Pgtable, type Tables } from '../pgtable.ts';
import { freeTables, Stage2Free } from '../stage2-init.ts';
import { walkUnlinked } from '../walker.ts';
import { UNLINKED } from './entry-update.ts';
import { MemoryTarget, PagesTarget } from './map-target.ts';
import { MapVisitor } from './map-visitor.ts';

/** What a subtree maps. */
export interface UnlinkedRequest {
  readonly phys: Phys;
  /** Of the entry that will point to it. */
  readonly level: Level;
  readonly attributes: Attributes;
  readonly isPagesOnly: boolean;
  readonly cache: TableCache;
}

/**
 * Builds a table that maps what a block of `level` at `phys` would; gives its first page. `invalid` for an address that is not aligned
 * to the level, `noMemory` when the cache ran dry: what was taken is then free.
 */
export function* stage2CreateUnlinked(
  pgt: Stage2Pgtable,
  request: UnlinkedRequest,
): Op<Phys | Exclude<Outcome, 'ok'>> {
  const { phys, level, attributes, isPagesOnly, cache } = request;
  const { geometry, ops } = pgt;
  if (!geometry.isAligned(phys, level)) return 'invalid';
  const table = yield* cache.alloc();
  if (table === NO_PGD) return 'noMemory';
  const Target = isPagesOnly ? PagesTarget : MemoryTarget;
  const target = new Target(geometry, phys, attributes);
  const visitor = new MapVisitor(pgt, { flags: 0, target, update: UNLINKED, cache });
  const outcome = yield* walkUnlinked(pgt, ops.wordOf(table), level, visitor);
  if (outcome === 'ok') return table;
  yield* stage2FreeUnlinked(pgt, ops.wordOf(table), level);
  return outcome;
}

/** Frees a table that an entry of `level` pointed to, or was to, with all below. Nobody may walk in it any more. */
export function* stage2FreeUnlinked(tables: Tables, table: Word, level: Level): Op<void> {
  yield* walkUnlinked(tables, table, level, new FreeCounted(tables));
  const count = yield* tables.ops.pageCount(table);
  if (count !== 1) throw new Error(`an unlinked table is left with ${count} references`);
  yield* tables.ops.putPage(table);
}

/** Frees every page of the table. No TLBI, no clearing, no cache maintenance: hardware must already be unable to reach it. */
export function* stage2Destroy(pgt: Pgtable): Op<void> {
  yield* freeTables(pgt, new FreeCounted(pgt));
}

/** Owners are counted too; a locked entry would be some walk's that never ended. */
class FreeCounted extends Stage2Free {
  override isCounted(entry: Descriptor): boolean {
    if (isLocked(entry)) throw new Error('a locked entry is left behind');
    return isCounted(entry);
  }
}
