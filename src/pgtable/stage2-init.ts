/** Birth and death of a stage-2 table (specification section 4.1). */
import type { Op } from '#port';
import type { Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { MachineFeatures } from '../machine/features.ts';
import { stage2Root, type Geometry } from '../machine/geometry.ts';
import { decodeVtcr, encodeVtcr } from '../machine/vtcr.ts';
import type { MmOps } from './mm-ops.ts';
import type { Outcome } from './outcome.ts';
import { childOf, NO_PGD, type Pgtable, type Stage2Pgtable, type Tables } from './pgtable.ts';
import { Stage2Attributes } from './stage2-prot.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** What a table is made for. */
export interface Stage2Config {
  readonly geometry: Geometry;
  readonly vtcr: number;
  readonly attributes: Stage2Attributes;
}

/** A table for `ipaBits` bits on a machine. Throws on a PARange the architecture does not have. */
export function stage2Config(
  geometry: Geometry,
  ipaBits: number,
  features: MachineFeatures,
): Stage2Config {
  const { fwb, xnx } = features;
  return {
    geometry,
    vtcr: encodeVtcr({ ...features, geometry, ipaBits }),
    attributes: new Stage2Attributes({ fwb, xnx, lpa2: geometry.lpa2 }),
  };
}

/** The handle of a table whose root is at `pgd`: input bits and start level come from VTCR_EL2, as the hardware takes them. */
export function stage2Handle(config: Stage2Config, pgd: Phys, ops: MmOps): Stage2Pgtable {
  const { geometry, attributes } = config;
  const { ipaBits, startLevel } = decodeVtcr(config.vtcr);
  const { pages } = stage2Root(geometry, ipaBits);
  return {
    geometry,
    attributes,
    iaBits: ipaBits,
    iaLimit: 2 ** ipaBits,
    startLevel,
    pgd,
    pgdPages: pages,
    ops,
  };
}

/** An empty table as VTCR_EL2 configures it; its `pgd` is {@link NO_PGD} when there was no memory for the root. */
export function* stage2Init(config: Stage2Config, ops: MmOps): Op<Stage2Pgtable> {
  const { pages } = stage2Root(config.geometry, decodeVtcr(config.vtcr).ipaBits);
  const pgd = yield* ops.zallocPagesExact(pages);
  // The hardware walker has to see zeros.
  yield* ops.publishEntries();
  return stage2Handle(config, pgd, ops);
}

/**
 * Frees every page of the table. No TLBI, no clearing, no cache maintenance: hardware must already be unable to reach it, and its
 * VMID must not be used again before a global flush.
 */
export function* stage2Destroy(pgt: Pgtable): Op<void> {
  yield* freeTables(pgt, new Stage2Free(pgt));
}

/** The same with a visitor that knows which entries are counted. */
export function* freeTables(pgt: Pgtable, visitor: Stage2Free): Op<void> {
  if (pgt.pgd === NO_PGD) return;
  const outcome = yield* walk(pgt, 0, pgt.iaLimit, visitor);
  if (outcome !== 'ok') throw new Error(`destroy: ${outcome}`);
  yield* pgt.ops.freePagesExact(pgt.pgd, pgt.pgdPages);
}

/** Drops the reference of each counted entry, and each child after its own entries. */
export class Stage2Free implements Visitor {
  readonly flags: number = Visit.leaf | Visit.tablePost;
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Whether a reference was taken for an entry. */
  isCounted(entry: Descriptor): boolean {
    return entry.isValid();
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    const { entry, old } = context;
    const { ops } = this.#tables;
    if (!this.isCounted(old)) return 'ok';
    yield* ops.putPage(entry);
    if (reason === Visit.tablePost) yield* ops.putPage(childOf(this.#tables, old));
    return 'ok';
  }
}
