/**
 * Every change of an entry goes through these functions. Profile `5.10`: the caller holds `mmu_lock`, nobody else writes.
 *
 * Breaking an entry clears its valid bit and nothing else: a detached table can still be followed. Hardware takes any entry
 * with the bit clear as invalid; comparisons and digests take it as empty.
 *
 * Why break before make (Arm ARM D8.16.1), on an entry that changes from page A to page B:
 *  1. vCPU 0 stores B over A. vCPU 1 has A in its TLB; vCPU 2 walks and fills B.
 *  2. vCPU 1 writes through A, vCPU 2 reads through B: two translations of one IPA are live, the write is lost to vCPU 2.
 * With the entry invalid and the TLBI complete before B is stored, no CPU can hold A when the first can fill B.
 */
import { Order, type Op } from '#port';
import { storeDescriptor, type Descriptor } from '../machine/descriptor.ts';
import type { LevelHint } from './mm-ops.ts';
import type { Pgtable } from './pgtable.ts';
import type { VisitContext } from './walker.ts';

/** Invalidates a valid entry; the translation stays cached until the caller's TLBI completed. */
export function* clearEntry(context: VisitContext): Op<void> {
  yield* storeDescriptor(context.entry, context.old.invalidated(), Order.once);
}

/** The break half of break-before-make, and all of a removal: on return the entry is invalid, and no TLB holds what `hint` lets be found. */
export function* breakEntry(pgt: Pgtable, context: VisitContext, hint: LevelHint): Op<void> {
  yield* clearEntry(context);
  yield* pgt.ops.tlbFlushIpa(context.addr, hint);
}

/**
 * Stores a new valid entry where none was. Release: a table's zeroed contents are visible before the pointer to it. Pairs with the
 * hardware walker's address dependency.
 */
export function* makeEntry(context: VisitContext, value: Descriptor): Op<void> {
  yield* storeDescriptor(context.entry, value, Order.release);
}

/** Changes attributes in place. No break needed: output address, size, memory type stay. */
export function* editEntry(context: VisitContext, value: Descriptor): Op<void> {
  yield* storeDescriptor(context.entry, value, Order.once);
}
