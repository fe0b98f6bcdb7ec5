/**
 * Mapping a range at stage 2, 5.12 to 6.1 (specification section 4.5). The same range in the same leaves as in 5.10, with two differences: a
 * broken entry is zero, and the skip filter. What stands where a leaf is wanted and differs in permissions at most is left alone and ends the
 * walk with `again`. The schedule that this prevents:
 *  1. vCPU 0 and vCPU 1 fault on one page, one to write it, one to read it. vCPU 0 maps it with W.
 *  2. vCPU 1 replaces the leaf by one without W, through a break. vCPU 0 faults again, on the break or on the missing W, and puts W back.
 *  3. vCPU 1 faults on that break. Both may go on so for ever, and each break stops every other vCPU.
 */
import { Order, type Op, type Word } from '#port';
import { Descriptor, EMPTY, PERMISSIONS, storeDescriptor } from '../../machine/descriptor.ts';
import { isCounted } from '../invalid-entry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import { EXCLUSIVE } from '../parallel/entry-update.ts';
import { MemoryTarget, type MapTarget } from '../parallel/map-target.ts';
import { childOf, NO_PGD, type Stage2Pgtable } from '../pgtable.ts';
import type { MapRequest } from '../stage2-map.ts';
import { Visit, VisitContext, walk, type Visitor } from '../walker.ts';

/**
 * Maps a range. `again` where the same memory is mapped already, with whatever permissions; it is left as it is. `invalid` for a protection
 * that cannot be encoded, `noMemory` when the cache ran dry: what was mapped before stays. TLB maintenance for what was replaced is
 * complete on return, cache maintenance for a leaf before it is live; DSB ISHST follows the walk, failed or not. Exclusive.
 */
export function* stage2Map(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
  const { ipa, size, phys, prot, cache } = request;
  const attributes = pgt.attributes.encode(prot);
  if (attributes === null) return 'invalid';
  const target = new MemoryTarget(pgt.geometry, phys, attributes);
  const outcome = yield* walk(pgt, ipa, size, new MapVisitor(pgt, target, cache));
  yield* pgt.ops.publishEntries();
  return outcome;
}

/** No table is being collapsed. */
const NO_ANCHOR: Word = 0;

class MapVisitor implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePre | Visit.tablePost;
  readonly #pgt: Stage2Pgtable;
  readonly #target: MapTarget;
  readonly #cache: TableCache | null;
  /** The entry whose table is being collapsed. */
  #anchor = NO_ANCHOR;

  constructor(pgt: Stage2Pgtable, target: MapTarget, cache: TableCache | null) {
    this.#pgt = pgt;
    this.#target = target;
    this.#cache = cache;
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    const isDoomed = this.#anchor !== NO_ANCHOR;
    if (reason === Visit.tablePost) return isDoomed ? yield* this.#freeDetached(context) : 'ok';
    if (isDoomed) {
      // The page goes as a whole: of its leaves only the references matter, and tables are visited once more.
      if (reason === Visit.leaf && isCounted(context.old))
        yield* this.#pgt.ops.putPage(context.entry);
      return 'ok';
    }
    if (reason === Visit.tablePre) return yield* this.#collapse(context);
    if (this.#target.fits(context)) return yield* this.#installLeaf(context);
    return yield* this.#installTable(context);
  }

  *#installLeaf(context: VisitContext): Op<Outcome> {
    const value = this.#target.entryFor(context);
    if (context.old.equalsBut(value, PERMISSIONS)) return 'again';
    yield* this.#clear(context);
    yield* EXCLUSIVE.cleanMemory(this.#pgt, value, context.level);
    yield* this.#make(context, value);
    return 'ok';
  }

  *#installTable(context: VisitContext): Op<Outcome> {
    const child = this.#cache === null ? NO_PGD : yield* this.#cache.alloc();
    if (child === NO_PGD) return 'noMemory';
    yield* this.#clear(context);
    yield* this.#make(context, Descriptor.table(this.#pgt.geometry, child));
    return 'ok';
  }

  /** Before a table's children: if a leaf fits here, detach the table. Many leaves may be cached below: flush the VMID. */
  *#collapse(context: VisitContext): Op<Outcome> {
    if (!this.#target.fits(context)) return 'ok';
    yield* storeDescriptor(context.entry, EMPTY, Order.once);
    yield* this.#pgt.ops.tlbFlushVmid();
    this.#anchor = context.entry;
    return 'ok';
  }

  /** After the children of a detached table, which the visit still names: free it; at the anchor, install the leaf. */
  *#freeDetached({ entry, old, addr, level, range }: VisitContext): Op<Outcome> {
    const { ops } = this.#pgt;
    yield* ops.putPage(childOf(this.#pgt, old));
    yield* ops.putPage(entry);
    if (this.#anchor !== entry) return 'ok';
    this.#anchor = NO_ANCHOR;
    return yield* this.#installLeaf(new VisitContext(entry, EMPTY, addr, level, range));
  }

  /** Empties an entry that counts; a leaf's translation is gone from every TLB on return. */
  *#clear({ entry, old, addr, level }: VisitContext): Op<void> {
    if (!isCounted(old)) return;
    const { ops } = this.#pgt;
    yield* storeDescriptor(entry, EMPTY, Order.once);
    if (old.isValid()) yield* ops.tlbFlushIpa(addr, level);
    yield* ops.putPage(entry);
  }

  /** Release: a table's zeroed contents are visible before the pointer to it. Pairs with the hardware walker's address dependency. */
  *#make({ entry }: VisitContext, value: Descriptor): Op<void> {
    yield* storeDescriptor(entry, value, Order.release);
    yield* this.#pgt.ops.getPage(entry);
  }
}
