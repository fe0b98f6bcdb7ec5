/** Relaxing permissions at stage 2, 5.14 to 6.1 (specification section 4.8). */
import type { Op } from '#port';
import type { Outcome } from '../outcome.ts';
import { AttributeUpdate } from '../parallel/attributes.ts';
import type { Pgtable } from '../pgtable.ts';
import { ONE_LEAF, permissionsToAdd } from '../stage2-attributes.ts';
import { walk } from '../walker.ts';

/**
 * Adds the permissions of `prot` to the leaf of `ipa`, by a plain store; never removes one. One TLBI by IPA, on every CPU. Without a valid leaf
 * nothing changes. `invalid` for execution at one exception level, or software bits. May run beside itself, and beside nothing else: of two
 * stores to one leaf the first may lose what it added, which costs one more fault.
 */
export function* stage2RelaxPerms(pgt: Pgtable, ipa: number, prot: number): Op<Outcome> {
  const added = permissionsToAdd(prot);
  if (added === null) return 'invalid';
  const update = new AttributeUpdate(pgt, added.set, added.clear, 0);
  const outcome = yield* walk(pgt, ipa, ONE_LEAF, update);
  if (outcome === 'ok') yield* pgt.ops.tlbFlushIpa(ipa, update.level);
  return outcome;
}
