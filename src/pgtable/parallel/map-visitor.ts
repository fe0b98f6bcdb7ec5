/**
 * The visitor behind map, set_owner and unlinked subtrees (specification section 4.6). A block in the way is dissolved: a table and the
 * requested entries, the rest of the block faults back. A table in the way of a leaf is replaced: the leaf is live before the detached
 * table is given to its owner, which may have to wait for other walks.
 */
import type { Op } from '#port';
import { Descriptor, PERMISSIONS } from '../../machine/descriptor.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import { childOf, NO_PGD, type Stage2Pgtable } from '../pgtable.ts';
import { Visit, WalkFlag, type VisitContext, type Visitor } from '../walker.ts';
import { lost, makeEntry, tryBreakEntry, type EntryUpdate } from './entry-update.ts';
import type { MapTarget } from './map-target.ts';

export class MapVisitor implements Visitor {
  readonly flags: number;
  readonly #pgt: Stage2Pgtable;
  readonly #target: MapTarget;
  readonly #update: EntryUpdate;
  readonly #cache: TableCache | null;

  /** `flags`: of {@link WalkFlag}. */
  constructor(
    pgt: Stage2Pgtable,
    options: {
      readonly flags: number;
      readonly target: MapTarget;
      readonly update: EntryUpdate;
      readonly cache: TableCache | null;
    },
  ) {
    this.flags = Visit.leaf | Visit.tablePre | WalkFlag.parallel | options.flags;
    this.#pgt = pgt;
    this.#target = options.target;
    this.#update = options.update;
    this.#cache = options.cache;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (this.#target.fits(context)) return yield* this.#install(context, reason);
    return reason === Visit.tablePre ? 'ok' : yield* this.#installTable(context);
  }

  /**
   * The skip filter first: what stands there and differs in permissions at most was made by another fault, or is enough for now. If it
   * is too strict, a permission fault follows.
   */
  *#install(context: VisitContext, reason: Visit): Op<Outcome> {
    const { old, level } = context;
    const value = this.#target.entryFor(context);
    if (old.equalsBut(value, PERMISSIONS)) return 'again';
    if (yield* this.#update.tryAnnotate(context, value)) return 'ok';
    if (!(yield* tryBreakEntry(this.#pgt, context, this.#update))) return lost(this.#pgt, context);
    yield* this.#update.cleanMemory(this.#pgt, value, level);
    yield* makeEntry(this.#pgt, context, value);
    if (reason === Visit.tablePre)
      yield* this.#pgt.ops.freeUnlinkedTable(childOf(this.#pgt, old), level);
    return 'ok';
  }

  *#installTable(context: VisitContext): Op<Outcome> {
    const { ops, geometry } = this.#pgt;
    const child = this.#cache === null ? NO_PGD : yield* this.#cache.alloc();
    if (child === NO_PGD) return 'noMemory';
    if (!(yield* tryBreakEntry(this.#pgt, context, this.#update))) {
      yield* ops.putPage(ops.wordOf(child));
      return lost(this.#pgt, context);
    }
    yield* makeEntry(this.#pgt, context, Descriptor.table(geometry, child));
    return 'ok';
  }
}
