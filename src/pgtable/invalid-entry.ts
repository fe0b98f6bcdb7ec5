/** Entries without the valid bit that say something, to software alone (specification section 1.5). */
import { Descriptor, EMPTY } from '../machine/descriptor.ts';

/** From 6.2 on: a walk is between break and make of the entry, which is its own until then. */
export const LOCKED: Descriptor = new Descriptor(0x400, 0);

export function isLocked(entry: Descriptor): boolean {
  return entry.equals(LOCKED);
}

/**
 * From 5.13 on, where broken entries are zeroed: whether the entry has a reference on its page. A locked entry has none, though it
 * is not zero: whoever sees one has lost, and does not ask.
 */
export function isCounted(entry: Descriptor): boolean {
  return !entry.equals(EMPTY);
}

/** Bits 9:2. */
const OWNER_SHIFT = 2;

/** From 5.13 on: who else owns the memory. Owner 0 is nobody in particular: the empty entry. */
export function ownerAnnotation(owner: number): Descriptor {
  return new Descriptor(owner << OWNER_SHIFT, 0);
}
