/**
 * Every change of an entry in the form of 6.2 on (specification sections 4.6 and 6). Entries change through a third state:
 *
 *     old --try--> LOCKED     one walk wins; TLBI for `old`, its reference dropped
 *     LOCKED --make--> new    by the winner alone; the reference taken just before
 *
 * What it prevents, without the lock held for writing:
 *  1. vCPU 0 and vCPU 1 fault on one page; both load the empty entry.
 *  2. vCPU 0 stores its leaf and counts it. vCPU 1 stores its own and counts it too: the page of the table is never freed; had the two
 *     leaves differed, one would have replaced the other without a break.
 * With the swap to LOCKED one of them fails, changes nothing, and lets its guest fault again. Hardware takes LOCKED as invalid: a guest
 * that comes back early faults again, and loses again until the make.
 *
 * Who holds the lock for writing never sees LOCKED: a reader makes before it unlocks.
 */
import { Order, type Op } from '#port';
import type { Level } from '../../machine/address.ts';
import {
  Attributes,
  S2_HI,
  readDescriptor,
  storeDescriptor,
  tryStoreDescriptor,
  type Descriptor,
} from '../../machine/descriptor.ts';
import { LOCKED, isCounted, isLocked } from '../invalid-entry.ts';
import type { Outcome } from '../outcome.ts';
import type { Pgtable, Stage2Pgtable } from '../pgtable.ts';
import { WalkFlag, type VisitContext } from '../walker.ts';

const SOFTWARE: Attributes = new Attributes(0, S2_HI.SW_MASK);

/** A way of changing entries: this one has the table to itself. */
export class EntryUpdate {
  /** Stores `value` where the walker loaded `old`; false if another walk was there first, and nothing changed. */
  *tryStore(context: VisitContext, value: Descriptor): Op<boolean> {
    if (isLocked(context.old)) throw new Error('an exclusive walk met a locked entry');
    yield* storeDescriptor(context.entry, value, Order.once);
    return true;
  }

  /** Stores `value` without a break if it differs from `old` in software bits at most; false if it was not stored. */
  *tryAnnotate(context: VisitContext, value: Descriptor): Op<boolean> {
    return context.old.equalsBut(value, SOFTWARE) && (yield* this.tryStore(context, value));
  }

  /** TLB maintenance for a broken entry: between break and make. */
  *flushTlb(pgt: Pgtable, context: VisitContext): Op<void> {
    const { old, addr, level } = context;
    const { ops, geometry } = pgt;
    // What replaces a table is a leaf of its size: the visit is at its base.
    if (old.isTable(level)) yield* ops.tlbFlushRange(addr, geometry.sizeOf(level));
    else if (old.isValid()) yield* ops.tlbFlushIpa(addr, level);
  }

  /** Cache maintenance for the memory of a leaf that is about to be made. */
  *cleanMemory(pgt: Stage2Pgtable, leaf: Descriptor, level: Level): Op<void> {
    if (!leaf.isValid()) return;
    const bytes = pgt.geometry.sizeOf(level);
    const memory = leaf.address(pgt.geometry);
    if (pgt.attributes.needsCleaning(leaf)) yield* pgt.ops.dcacheCleanInvalidate(memory, bytes);
    if (leaf.isExecutable()) yield* pgt.ops.icacheInvalidate(memory, bytes);
  }
}

/** Beside other walks: what is stored depends on nobody having been there first. */
class SharedUpdate extends EntryUpdate {
  override *tryStore(context: VisitContext, value: Descriptor): Op<boolean> {
    if (isLocked(context.old)) return false;
    return yield* tryStoreDescriptor(context.entry, context.old, value);
  }

  /** Never: which of two in-place changes came last would be anybody's guess. */
  override *tryAnnotate(): Op<boolean> {
    return false;
  }
}

/** In a new table that hardware cannot reach: no entry has been cached, and the memory was mapped before. */
class UnlinkedUpdate extends EntryUpdate {
  override *cleanMemory(): Op<void> {}
}

export const EXCLUSIVE: EntryUpdate = new EntryUpdate();
const SHARED: EntryUpdate = new SharedUpdate();
export const UNLINKED: EntryUpdate = new UnlinkedUpdate();

/** How a walk with these {@link WalkFlag} flags changes entries. */
export function updateFor(flags: number): EntryUpdate {
  return (flags & WalkFlag.shared) === 0 ? EXCLUSIVE : SHARED;
}

/** What a walk returns whose entry somebody else had first; its owner is told if that one is still at it. */
export function lost({ ops }: Pgtable, { entry, old }: VisitContext): Outcome {
  if (isLocked(old)) ops.metLocked(entry);
  return 'again';
}

/**
 * The break half: on return the entry is this walk's own until {@link makeEntry}, its translation is gone and its reference dropped;
 * or false, and nothing happened.
 */
export function* tryBreakEntry(
  pgt: Pgtable,
  context: VisitContext,
  update: EntryUpdate,
): Op<boolean> {
  if (!(yield* update.tryStore(context, LOCKED))) return false;
  yield* update.flushTlb(pgt, context);
  if (isCounted(context.old)) yield* pgt.ops.putPage(context.entry);
  return true;
}

/**
 * The make half. Release: the contents of a table are visible before the pointer to it. Pairs with the hardware walker's address
 * dependency.
 */
export function* makeEntry(pgt: Pgtable, context: VisitContext, value: Descriptor): Op<void> {
  if (!isLocked(readDescriptor(context.entry)))
    throw new Error('an entry is made that was not broken');
  if (isCounted(value)) yield* pgt.ops.getPage(context.entry);
  yield* storeDescriptor(context.entry, value, Order.release);
}
