/** In-place edits of leaf attributes beside other walks (specification sections 4.8 and 4.9). None changes address, size or type. */
import type { Op } from '#port';
import { Attributes, EMPTY, NO_ATTRIBUTES, type Descriptor } from '../../machine/descriptor.ts';
import { UNKNOWN_LEVEL, type LevelHint } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Pgtable } from '../pgtable.ts';
import { ACCESS_FLAG, ONE_LEAF, WRITE, permissionsToAdd } from '../stage2-attributes.ts';
import { Visit, WalkFlag, walk, type VisitContext, type Visitor } from '../walker.ts';
import { EXCLUSIVE, lost, updateFor, type EntryUpdate } from './entry-update.ts';

/** Clears W in a range; R stays. **The caller must flush the TLB** before it relies on the result. Exclusive. */
export function* stage2Wrprotect(pgt: Pgtable, ipa: number, size: number): Op<Outcome> {
  return yield* walk(pgt, ipa, size, new AttributeUpdate(pgt, NO_ATTRIBUTES, WRITE, 0));
}

/** A request of a fault for the leaf of one address. */
export interface RelaxRequest {
  readonly ipa: number;
  readonly prot: number;
  /** Of `WalkFlag`. */
  readonly flags: number;
}

/**
 * Adds permissions to the leaf of an address; never removes one. `again` (with `handleFault`) if there is no valid leaf or another walk
 * changed it first. After either this CPU alone is rid of what it cached: another that keeps a stricter entry takes one fault
 * more. `invalid` for execution at one exception level, or software bits.
 */
export function* stage2RelaxPerms(pgt: Pgtable, request: RelaxRequest): Op<Outcome> {
  const { ipa, prot, flags } = request;
  const added = permissionsToAdd(prot);
  if (added === null) return 'invalid';
  const update = new AttributeUpdate(pgt, added.set, added.clear, flags);
  const outcome = yield* walk(pgt, ipa, ONE_LEAF, update);
  // Who lost saw a leaf that is no more: its level says nothing.
  if (outcome === 'ok') yield* pgt.ops.tlbFlushIpaLocal(ipa, update.level);
  else if (outcome === 'again') yield* pgt.ops.tlbFlushIpaLocal(ipa, UNKNOWN_LEVEL);
  return outcome;
}

/**
 * Sets AF of the leaf of `ipa`; gives the leaf as it was, or an empty entry if there was none or another walk changed it first. No TLBI:
 * AF=0 is never cached.
 */
export function* stage2Mkyoung(pgt: Pgtable, ipa: number, flags: number): Op<Descriptor> {
  const update = new AttributeUpdate(pgt, ACCESS_FLAG, NO_ATTRIBUTES, flags);
  const outcome = yield* walk(pgt, ipa, ONE_LEAF, update);
  if (outcome !== 'ok') return EMPTY;
  yield* pgt.ops.publishEntries();
  return update.old;
}

/** `(old & ~clear) | set` on each valid leaf, stored only where it changes something; `again` on an invalid entry and for a lost race. */
export class AttributeUpdate implements Visitor {
  readonly flags: number;
  readonly #pgt: Pgtable;
  readonly #set: Attributes;
  readonly #clear: Attributes;
  readonly #update: EntryUpdate;
  /** The last valid leaf visited, as it was, and its level; empty and unknown if there was none. */
  old: Descriptor = EMPTY;
  level: LevelHint = UNKNOWN_LEVEL;

  constructor(pgt: Pgtable, set: Attributes, clear: Attributes, flags: number) {
    this.flags = Visit.leaf | WalkFlag.parallel | flags;
    this.#pgt = pgt;
    this.#set = set;
    this.#clear = clear;
    this.#update = updateFor(flags);
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old, level } = context;
    if (!old.isValid()) return lost(this.#pgt, context);
    this.old = old;
    this.level = level;
    const updated = old.withAttributes(this.#set, this.#clear);
    if (updated.equals(old)) return 'ok';
    if (!old.isExecutable() && updated.isExecutable()) yield* this.#invalidateCode(context);
    return (yield* this.#update.tryStore(context, updated)) ? 'ok' : lost(this.#pgt, context);
  }

  /** Before the guest can execute what it wrote. */
  *#invalidateCode({ old, level }: VisitContext): Op<void> {
    const { ops, geometry } = this.#pgt;
    yield* ops.icacheInvalidate(old.address(geometry), geometry.sizeOf(level));
  }
}

/** Which leaves to test, and whether to make them old. */
export interface AgeRequest {
  readonly ipa: number;
  readonly size: number;
  readonly mkold: boolean;
}

/** Whether any leaf of the range has AF set; clears it if asked. No TLBI: whoever ages decides about that. Exclusive. */
export function* stage2TestClearYoung(pgt: Pgtable, request: AgeRequest): Op<boolean> {
  const visitor = new Age(request.mkold ? ACCESS_FLAG : NO_ATTRIBUTES);
  yield* walk(pgt, request.ipa, request.size, visitor);
  return visitor.isYoung;
}

class Age implements Visitor {
  readonly flags = Visit.leaf | WalkFlag.parallel;
  readonly #clear: Attributes;
  isYoung = false;

  constructor(clear: Attributes) {
    this.#clear = clear;
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { old } = context;
    if (!old.isValid() || !old.isYoung()) return 'ok';
    this.isYoung = true;
    const aged = old.withAttributes(NO_ATTRIBUTES, this.#clear);
    if (!aged.equals(old)) yield* EXCLUSIVE.tryStore(context, aged);
    return 'ok';
  }
}
