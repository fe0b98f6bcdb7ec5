/** In-place edits of leaf attributes (specification sections 4.8 and 4.9). None of them changes address, size or type. */
import type { Op } from '#port';
import {
  Attributes,
  EMPTY,
  NO_ATTRIBUTES,
  S2_HI,
  S2_LO,
  type Descriptor,
} from '../machine/descriptor.ts';
import { editEntry } from './entry.ts';
import { UNKNOWN_LEVEL, type LevelHint } from './mm-ops.ts';
import type { Outcome } from './outcome.ts';
import type { Pgtable } from './pgtable.ts';
import { Prot, permissions } from './stage2-prot.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** Operations on the leaf of one address take one byte of it. */
export const ONE_LEAF = 1;
const NOT_TO_ADD = Prot.ux | Prot.px | Prot.sw0 | Prot.sw1 | Prot.sw2 | Prot.sw3;
export const WRITE: Attributes = new Attributes(S2_LO.S2AP_W, 0);
export const ACCESS_FLAG: Attributes = new Attributes(S2_LO.AF, 0);

/** Clears W in a range; R stays. **The caller must flush the TLB** before it relies on the result. */
export function* stage2Wrprotect(pgt: Pgtable, ipa: number, size: number): Op<Outcome> {
  return yield* walk(pgt, ipa, size, new AttributeUpdate(NO_ATTRIBUTES, WRITE));
}

/**
 * Adds the permissions of `prot` to the leaf of `ipa`; never removes one. One TLBI by IPA, hinted with the leaf's level, if the walk
 * succeeded: a CPU that keeps the stricter entry only takes a spurious fault. Without a valid leaf nothing changes, and the guest
 * takes a translation fault next. `invalid` for execution at one exception level, where nothing is known of the other, and for
 * software bits.
 */
export function* stage2RelaxPerms(pgt: Pgtable, ipa: number, prot: number): Op<Outcome> {
  const added = permissionsToAdd(prot);
  if (added === null) return 'invalid';
  const update = new AttributeUpdate(added.set, added.clear);
  const outcome = yield* walk(pgt, ipa, ONE_LEAF, update);
  if (outcome === 'ok') yield* pgt.ops.tlbFlushIpa(ipa, update.level);
  return outcome;
}

/** What has to change in a leaf that is to allow `prot` too. */
export interface AddedPermissions {
  readonly set: Attributes;
  readonly clear: Attributes;
}

/** Null for what is more than R, W and X: execution at one exception level, software bits. */
export function permissionsToAdd(prot: number): AddedPermissions | null {
  if ((prot & NOT_TO_ADD) !== 0) return null;
  return {
    set: new Attributes(permissions(prot), 0),
    clear: (prot & Prot.x) !== 0 ? new Attributes(0, S2_HI.XN_MASK) : NO_ATTRIBUTES,
  };
}

/** Sets AF of the leaf of `ipa`; gives the leaf as it was, or an empty entry. No TLBI: AF=0 is never cached. */
export function* stage2Mkyoung(pgt: Pgtable, ipa: number): Op<Descriptor> {
  const update = new AttributeUpdate(ACCESS_FLAG, NO_ATTRIBUTES);
  yield* walk(pgt, ipa, ONE_LEAF, update);
  yield* pgt.ops.publishEntries();
  return update.old;
}

/**
 * Clears AF of the leaf of `ipa`; gives the leaf as it was, or an empty entry. No TLBI: whoever ages decides whether a CPU may go on with
 * the entry it cached.
 */
export function* stage2Mkold(pgt: Pgtable, ipa: number): Op<Descriptor> {
  const update = new AttributeUpdate(NO_ATTRIBUTES, ACCESS_FLAG);
  yield* walk(pgt, ipa, ONE_LEAF, update);
  return update.old;
}

/** Whether the leaf of `ipa` has AF set; false without a leaf. Changes nothing. */
export function* stage2IsYoung(pgt: Pgtable, ipa: number): Op<boolean> {
  const update = new AttributeUpdate(NO_ATTRIBUTES, NO_ATTRIBUTES);
  yield* walk(pgt, ipa, ONE_LEAF, update);
  return update.old.isYoung();
}

/** `(old & ~clear) | set` on each valid leaf, stored only where it changes something. */
class AttributeUpdate implements Visitor {
  readonly flags = Visit.leaf;
  readonly #set: Attributes;
  readonly #clear: Attributes;
  /** The last valid leaf visited, as it was, and its level; empty and unknown if there was none. */
  old: Descriptor = EMPTY;
  level: LevelHint = UNKNOWN_LEVEL;

  constructor(set: Attributes, clear: Attributes) {
    this.#set = set;
    this.#clear = clear;
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old } = context;
    if (!old.isValid()) return 'ok';
    this.old = old;
    this.level = context.level;
    const updated = old.withAttributes(this.#set, this.#clear);
    if (!updated.equals(old)) yield* editEntry(context, updated);
    return 'ok';
  }
}
