/** Birth and death of a stage-2 table (specification section 4.1). */
import type { Op } from '#port';
import type { Phys } from '../machine/address.ts';
import { stage2Root, type Geometry } from '../machine/geometry.ts';
import { decodeVtcr } from '../machine/vtcr.ts';
import type { MmOps } from './mm-ops.ts';
import type { Outcome } from './outcome.ts';
import { NO_PGD, type Pgtable } from './pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** The handle of a table whose root is at `pgd`: input bits and start level come from VTCR_EL2, as the hardware takes them. */
export function stage2Handle(geometry: Geometry, vtcr: number, pgd: Phys, ops: MmOps): Pgtable {
  const { ipaBits, startLevel } = decodeVtcr(vtcr);
  const { pages } = stage2Root(geometry, ipaBits);
  return {
    geometry,
    iaBits: ipaBits,
    iaLimit: 2 ** ipaBits,
    startLevel,
    pgd,
    pgdPages: pages,
    ops,
  };
}

/** An empty table as VTCR_EL2 configures it; its `pgd` is {@link NO_PGD} when there was no memory for the root. */
export function* stage2Init(geometry: Geometry, vtcr: number, ops: MmOps): Op<Pgtable> {
  const { pages } = stage2Root(geometry, decodeVtcr(vtcr).ipaBits);
  const pgd = yield* ops.zallocPagesExact(pages);
  // The hardware walker has to see zeros.
  yield* ops.publishEntries();
  return stage2Handle(geometry, vtcr, pgd, ops);
}

/**
 * Frees every page of the table. No TLBI, no clearing, no cache maintenance: hardware must already be unable to reach it, and its
 * VMID must not be used again before a global flush.
 */
export function* stage2Destroy(pgt: Pgtable): Op<void> {
  if (pgt.pgd === NO_PGD) return;
  const outcome = yield* walk(pgt, 0, pgt.iaLimit, new Stage2Free(pgt));
  if (outcome !== 'ok') throw new Error(`stage2Destroy: ${outcome}`);
  yield* pgt.ops.freePagesExact(pgt.pgd, pgt.pgdPages);
}

/** Drops the reference of each counted entry, and each child after its own entries. */
class Stage2Free implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePost;
  readonly #pgt: Pgtable;

  constructor(pgt: Pgtable) {
    this.#pgt = pgt;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (!context.old.isValid()) return 'ok';
    yield* this.#pgt.ops.putPage(context.entry);
    if (reason === Visit.tablePost)
      yield* this.#pgt.ops.putPage(this.#pgt.ops.wordOf(context.old.address()));
    return 'ok';
  }
}
