/**
 * Mapping a range at stage 2, profile `5.10` (specification section 4.4).
 *
 * The range becomes the largest aligned leaves. A block in the way is dissolved: a table and the requested leaves; the rest of
 * the block faults back. A table in the way of a leaf is collapsed: its entry is broken and the VMID flushed before the walker goes
 * through the detached child, whose references are dropped and whose pages are freed on the way up; then the leaf is stored.
 */
import type { Op, Word } from '#port';
import type { Phys } from '../machine/address.ts';
import { Descriptor, loadDescriptor, type Attributes } from '../machine/descriptor.ts';
import { breakEntry, clearEntry, makeEntry } from './entry.ts';
import { isLeafAllowed } from './leaf-fit.ts';
import type { TableCache } from './mm-ops.ts';
import type { Outcome } from './outcome.ts';
import { childOf, NO_PGD, type Stage2Pgtable } from './pgtable.ts';
import { Visit, VisitContext, walk, type Visitor } from './walker.ts';

/** A map request: addresses and size in bytes, `prot` of {@link Prot} bits. */
export interface MapRequest {
  readonly ipa: number;
  readonly size: number;
  readonly phys: Phys;
  readonly prot: number;
  /** Null: no table may be allocated. */
  readonly cache: TableCache | null;
}

/**
 * Maps a range. `invalid` for a protection that cannot be encoded, `noMemory` when the cache ran dry: earlier leaves, and possibly an
 * empty table, then stay. TLB maintenance for what was replaced is complete on return; DSB ISHST follows the walk, failed or not.
 */
export function* stage2Map(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
  const attributes = pgt.attributes.encode(request.prot);
  if (attributes === null) return 'invalid';
  const outcome = yield* walk(
    pgt,
    request.ipa,
    request.size,
    new Stage2Map(pgt, request, attributes),
  );
  yield* pgt.ops.publishEntries();
  return outcome;
}

/** No table is being collapsed. */
const NO_ANCHOR: Word = 0;

class Stage2Map implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePre | Visit.tablePost;
  readonly #pgt: Stage2Pgtable;
  readonly #attributes: Attributes;
  readonly #cache: TableCache | null;
  #phys: number;
  /** The entry whose table is being collapsed. */
  #anchor = NO_ANCHOR;

  constructor(pgt: Stage2Pgtable, request: MapRequest, attributes: Attributes) {
    this.#pgt = pgt;
    this.#attributes = attributes;
    this.#cache = request.cache;
    this.#phys = pgt.geometry.pageDown(request.phys);
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    if (reason === Visit.leaf) return yield* this.#leaf(context);
    if (reason === Visit.tablePre) yield* this.#collapse(context);
    else if (this.#anchor !== NO_ANCHOR) yield* this.#freeDetached(context);
    return 'ok';
  }

  *#leaf(context: VisitContext): Op<Outcome> {
    if (this.#anchor !== NO_ANCHOR) {
      // The page is doomed: only its references matter.
      if (context.old.isValid()) yield* this.#pgt.ops.putPage(context.entry);
      return 'ok';
    }
    if (!isLeafAllowed(this.#pgt.geometry, context, this.#phys))
      return yield* this.#installTable(context);
    yield* this.#installLeaf(context);
    return 'ok';
  }

  *#installLeaf(context: VisitContext): Op<void> {
    const { entry, old, level } = context;
    const { ops, geometry } = this.#pgt;
    const leaf = Descriptor.leaf(geometry, this.#phys as Phys, level, this.#attributes);
    this.#phys += geometry.sizeOf(level);
    if (!old.isValid()) {
      yield* makeEntry(context, leaf);
      yield* ops.getPage(entry);
      return;
    }
    // Valid to valid: one reference before, one after.
    if (old.equals(leaf)) return;
    yield* breakEntry(this.#pgt, context, level);
    yield* makeEntry(context, leaf);
  }

  *#installTable(context: VisitContext): Op<Outcome> {
    const { ops } = this.#pgt;
    const child = this.#cache === null ? NO_PGD : yield* this.#cache.alloc();
    if (child === NO_PGD) return 'noMemory';
    if (context.old.isValid()) {
      yield* breakEntry(this.#pgt, context, context.level);
      yield* makeEntry(context, Descriptor.table(this.#pgt.geometry, child));
      return 'ok';
    }
    yield* makeEntry(context, Descriptor.table(this.#pgt.geometry, child));
    yield* ops.getPage(context.entry);
    return 'ok';
  }

  /** Before a table's children: if a leaf fits here, detach the table. Many leaves may be cached below: flush the VMID. */
  *#collapse(context: VisitContext): Op<void> {
    if (this.#anchor !== NO_ANCHOR || !isLeafAllowed(this.#pgt.geometry, context, this.#phys))
      return;
    yield* clearEntry(context);
    yield* this.#pgt.ops.tlbFlushVmid();
    this.#anchor = context.entry;
  }

  /** After the children of a detached table: free it; at the anchor, install the leaf. */
  *#freeDetached(context: VisitContext): Op<void> {
    const { entry, addr, level, range } = context;
    const { ops } = this.#pgt;
    // The anchor changed since the walker loaded it: its valid bit is clear, its address stands.
    const now = yield* loadDescriptor(entry);
    yield* ops.putPage(childOf(this.#pgt, now));
    yield* ops.putPage(entry);
    if (this.#anchor !== entry) return;
    this.#anchor = NO_ANCHOR;
    yield* this.#installLeaf(new VisitContext(entry, now, addr, level, range));
  }
}
