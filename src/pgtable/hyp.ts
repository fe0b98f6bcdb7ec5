/**
 * The hypervisor's own stage-1 table (specification section 3), profile `5.10`, with two things that 5.17 added: unmap, and the
 * references per entry that it needs.
 *
 * One root page, never concatenated. No break before make: what is mapped stays as it is until it is unmapped. The caller holds the
 * lock that orders changes of the table.
 */
import { Barrier, barrier, type Op } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import { Descriptor, type Attributes } from '../machine/descriptor.ts';
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import { breakEntry, makeEntry } from './entry.ts';
import { hypAttributes } from './hyp-prot.ts';
import { isLeafAllowed } from './leaf-fit.ts';
import type { MmOps, TableCache } from './mm-ops.ts';
import type { Outcome } from './outcome.ts';
import { NO_PGD, type Pgtable } from './pgtable.ts';
import { stage2Destroy } from './stage2-init.ts';
import { removeTableIfEmpty } from './table-removal.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/**
 * An empty table for `vaBits` bits of virtual address. `invalid` when that takes a level that the walker does not have (the check of
 * 6.12: with 4K, more than 48 bits take level -1), `noMemory` without a root page.
 */
export function* hypInit(
  geometry: Geometry,
  vaBits: number,
  ops: MmOps,
): Op<Pgtable | 'invalid' | 'noMemory'> {
  const startLevel = 4 - Math.floor((vaBits - 4) / (geometry.pageShift - 3));
  if (startLevel < 0 || startLevel > LAST_LEVEL) return 'invalid';
  const pgd = yield* ops.zallocPagesExact(1);
  if (pgd === NO_PGD) return 'noMemory';
  return {
    geometry,
    iaBits: vaBits,
    iaLimit: 2 ** vaBits,
    startLevel: startLevel as Level,
    pgd,
    pgdPages: 1,
    ops,
  };
}

/** Frees every page of the table, as at stage 2: no TLBI, hardware must already be unable to reach it. */
export function* hypDestroy(pgt: Pgtable): Op<void> {
  yield* stage2Destroy(pgt);
}

/** A map request: addresses and size in bytes, `prot` of `Prot` bits; tables come from `pages`. */
export interface HypMapRequest {
  readonly va: number;
  readonly size: number;
  readonly phys: Phys;
  readonly prot: number;
  readonly pages: TableCache;
}

export interface HypMapped {
  readonly outcome: Outcome;
  /** Valid leaves that differ from the request and were kept: where the kernel warns and carries on. A caller's mistake. */
  readonly kept: number;
}

/**
 * Maps a range as the largest leaves that fit. A valid leaf in the way is kept; it counts as `kept` unless it is what was asked for.
 * `invalid` for a protection that is refused, `noMemory` when a table could not be allocated: earlier leaves then stay. DSB ISHST and
 * ISB follow the walk, failed or not. Throws where a table would have to replace a block.
 */
export function* hypMap(pgt: Pgtable, request: HypMapRequest): Op<HypMapped> {
  const attributes = hypAttributes(request.prot, pgt.geometry);
  if (attributes === null) return { outcome: 'invalid', kept: 0 };
  const visitor = new HypMap(pgt, request, attributes);
  const outcome = yield* walk(pgt, request.va, request.size, visitor);
  yield* pgt.ops.publishEntries();
  yield* barrier(Barrier.isb);
  return { outcome, kept: visitor.kept };
}

class HypMap implements Visitor {
  readonly flags = Visit.leaf;
  kept = 0;
  readonly #pgt: Pgtable;
  readonly #attributes: Attributes;
  readonly #pages: TableCache;
  readonly #phys: number;

  constructor(pgt: Pgtable, request: HypMapRequest, attributes: Attributes) {
    this.#pgt = pgt;
    this.#attributes = attributes;
    this.#pages = request.pages;
    this.#phys = pgt.geometry.pageDown(request.phys);
  }

  *visit(context: VisitContext): Op<Outcome> {
    const phys = this.#phys + (context.addr - context.range.start);
    if (!isLeafAllowed(this.#pgt.geometry, context, phys))
      return yield* this.#installTable(context);
    yield* this.#installLeaf(context, phys as Phys);
    return 'ok';
  }

  *#installLeaf(context: VisitContext, phys: Phys): Op<void> {
    const { entry, old, level } = context;
    const leaf = Descriptor.leaf(this.#pgt.geometry, phys, level, this.#attributes);
    if (old.isValid()) {
      if (!old.equals(leaf)) this.kept++;
      return;
    }
    yield* makeEntry(context, leaf);
    yield* this.#pgt.ops.getPage(entry);
  }

  *#installTable(context: VisitContext): Op<Outcome> {
    if (context.old.isValid()) throw new Error('hypMap: a table over a valid block');
    const child = yield* this.#pages.alloc();
    if (child === NO_PGD) return 'noMemory';
    yield* makeEntry(context, Descriptor.table(this.#pgt.geometry, child));
    yield* this.#pgt.ops.getPage(context.entry);
    return 'ok';
  }
}

/**
 * Unmaps from `va` on and frees tables that become empty; gives the bytes unmapped. Stops before `va + size` at the first invalid entry,
 * or block that lies only partly in the range. TLB maintenance is complete on return.
 */
export function* hypUnmap(pgt: Pgtable, va: number, size: number): Op<number> {
  const visitor = new HypUnmap(pgt);
  yield* walk(pgt, va, size, visitor);
  return visitor.unmapped;
}

class HypUnmap implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePost;
  /** Bytes. */
  unmapped = 0;
  readonly #pgt: Pgtable;

  constructor(pgt: Pgtable) {
    this.#pgt = pgt;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (reason === Visit.leaf) return yield* this.#removeLeaf(context);
    yield* removeTableIfEmpty(this.#pgt, context);
    return 'ok';
  }

  *#removeLeaf(context: VisitContext): Op<Outcome> {
    const { entry, old, level, addr, range } = context;
    const { ops, geometry } = this.#pgt;
    const bytes = geometry.sizeOf(level);
    const isWhole = geometry.isAligned(addr, level) && bytes <= range.end - addr;
    if (!old.isValid() || !isWhole) return 'invalid';
    yield* breakEntry(this.#pgt, context, level);
    yield* ops.putPage(entry);
    this.unmapped += bytes;
    return 'ok';
  }
}
