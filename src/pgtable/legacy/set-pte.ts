import type { Op } from '#port';
import { loadDescriptor, type Descriptor } from '../../machine/descriptor.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { Descent, NO_ENTRY, type Growth } from './descent.ts';
import { replaceLeaf } from './entry.ts';

/** A page to be stored for the page of `ipa`. */
export interface PteRequest extends Growth {
  readonly ipa: number;
  readonly leaf: Descriptor;
  /** Device registers of the host's own choice: nothing may be mapped there. */
  readonly isIoremap: boolean;
}

/**
 * Stores a page. Without a cache, a missing table means that there is nothing to change: `ok`. `fault` for an ioremap over a valid page.
 * Throws when the cache is too small, and when a block is in the way while nothing logs.
 */
export function* setPte(pgt: Stage2Pgtable, request: PteRequest): Op<Outcome> {
  pgt.ops.walkBegin();
  const outcome = yield* descendAndSet(pgt, request);
  pgt.ops.walkEnd();
  return outcome;
}

function* descendAndSet(pgt: Stage2Pgtable, request: PteRequest): Op<Outcome> {
  const { ipa, leaf, isIoremap } = request;
  const at = yield* new Descent(pgt, ipa, request).pte();
  if (at === NO_ENTRY) {
    if (request.cache === null) return 'ok';
    throw new Error('setPte: the cache ran dry');
  }
  const old = yield* loadDescriptor(at);
  if (isIoremap && old.isValid()) return 'fault';
  // No change: a leaf that another vCPU uses is not broken for nothing.
  if (!old.equals(leaf)) yield* replaceLeaf(pgt, at, old, leaf, { ipa, level: LAST_LEVEL });
  return 'ok';
}
