/** What the leaf of one address says, and its access flag: a walk for each question. */
import type { Op, Word } from '#port';
import type { Level } from '../../machine/address.ts';
import {
  Attributes,
  EMPTY,
  loadDescriptor,
  NO_ATTRIBUTES,
  S2_LO,
  type Descriptor,
} from '../../machine/descriptor.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { childOf, type Pgtable } from '../pgtable.ts';
import { setEntry } from './entry.ts';
import { entryIn, rootEntry } from './offsets.ts';

const ACCESS_FLAG: Attributes = new Attributes(S2_LO.AF, 0);

/** A valid leaf and where it stands. */
interface Leaf {
  readonly at: Word;
  readonly level: Level;
  readonly value: Descriptor;
}

/**
 * Whether `ipa` ends at an executable leaf that a mapping of `size` bytes may take its permission from: one of at least that
 * size. On a write permission fault this is the first of two walks.
 */
export function* isExecutable(pgt: Pgtable, ipa: number, size: number): Op<boolean> {
  const leaf = yield* findLeaf(pgt, ipa);
  if (leaf === null || !leaf.value.isExecutable()) return false;
  return pgt.geometry.sizeOf(leaf.level) >= size;
}

/** Sets the access flag of the leaf of `ipa`; gives the leaf as it was, or an empty entry. No TLBI: AF=0 is never cached. */
export function* legacyMkyoung(pgt: Pgtable, ipa: number): Op<Descriptor> {
  const leaf = yield* findLeaf(pgt, ipa);
  if (leaf === null) return EMPTY;
  yield* edit(pgt, leaf, leaf.value.withAttributes(ACCESS_FLAG, NO_ATTRIBUTES));
  return leaf.value;
}

/** Clears the access flag of the leaf of `ipa`; gives whether it was set. Whoever ages decides on a flush. */
export function* legacyAge(pgt: Pgtable, ipa: number): Op<boolean> {
  const leaf = yield* findLeaf(pgt, ipa);
  if (leaf === null) return false;
  yield* edit(pgt, leaf, leaf.value.withAttributes(NO_ATTRIBUTES, ACCESS_FLAG));
  return leaf.value.isYoung();
}

/** Whether the leaf of `ipa` has its access flag; false without a leaf. */
export function* legacyTestAge(pgt: Pgtable, ipa: number): Op<boolean> {
  const leaf = yield* findLeaf(pgt, ipa);
  return leaf !== null && leaf.value.isYoung();
}

function* edit(pgt: Pgtable, leaf: Leaf, value: Descriptor): Op<void> {
  if (!value.equals(leaf.value)) yield* setEntry(pgt, leaf.at, value);
}

function* findLeaf(pgt: Pgtable, ipa: number): Op<Leaf | null> {
  pgt.ops.walkBegin();
  const leaf = yield* descend(pgt, ipa);
  pgt.ops.walkEnd();
  return leaf;
}

function* descend(pgt: Pgtable, ipa: number): Op<Leaf | null> {
  let at = rootEntry(pgt, ipa);
  if (pgt.startLevel === 0) {
    const pgd = yield* loadDescriptor(at);
    if (!pgd.isTable(0)) return null;
    at = entryIn(pgt, childOf(pgt, pgd), ipa, 1);
  }
  if (pgt.startLevel <= 1) {
    const pud = yield* loadDescriptor(at);
    if (!pud.isTable(1)) return leafOf(at, 1, pud);
    at = entryIn(pgt, childOf(pgt, pud), ipa, 2);
  }
  const pmd = yield* loadDescriptor(at);
  if (!pmd.isTable(2)) return leafOf(at, 2, pmd);
  at = entryIn(pgt, childOf(pgt, pmd), ipa, LAST_LEVEL);
  const pte = yield* loadDescriptor(at);
  return leafOf(at, LAST_LEVEL, pte);
}

function leafOf(at: Word, level: Level, value: Descriptor): Leaf | null {
  return value.isValid() ? { at, level, value } : null;
}
