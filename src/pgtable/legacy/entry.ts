/** Stores to entries as the rewrite found them: each one followed by a barrier, and 0 the only invalid value. */
import { Order, type Op, type Word } from '#port';
import { EMPTY, storeDescriptor, type Descriptor } from '../../machine/descriptor.ts';
import type { LevelHint } from '../mm-ops.ts';
import type { Pgtable } from '../pgtable.ts';

/** Stores an entry, DSB ISHST behind it. */
export function* setEntry(pgt: Pgtable, at: Word, value: Descriptor): Op<void> {
  yield* storeDescriptor(at, value, Order.once);
  yield* pgt.ops.publishEntries();
}

/** Empties an entry and invalidates what TLBs hold of it. `hint`: the level of a leaf, 0 for a table. */
export function* clearEntry(pgt: Pgtable, at: Word, ipa: number, hint: LevelHint): Op<void> {
  yield* setEntry(pgt, at, EMPTY);
  yield* pgt.ops.tlbFlushIpa(ipa, hint);
}

/** Stores a leaf over an invalid entry, which takes a reference, or over another leaf: break, then make. */
export function* replaceLeaf(
  pgt: Pgtable,
  at: Word,
  old: Descriptor,
  leaf: Descriptor,
  { ipa, level }: { readonly ipa: number; readonly level: LevelHint },
): Op<void> {
  if (old.isValid()) yield* clearEntry(pgt, at, ipa, level);
  else yield* pgt.ops.getPage(at);
  yield* setEntry(pgt, at, leaf);
}
