/** Mapping a range at stage 2 beside other walks, and recording owners (specification sections 4.6 and 4.12). */
import type { Op } from '#port';
import { ownerAnnotation } from '../invalid-entry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import type { MapRequest } from '../stage2-map.ts';
import { walk } from '../walker.ts';
import { EXCLUSIVE, updateFor } from './entry-update.ts';
import { AnnotationTarget, MemoryTarget } from './map-target.ts';
import { MapVisitor } from './map-visitor.ts';

/** `flags`: `WalkFlag.shared` beside other walks, `handleFault` for a fault. */
export interface ParallelMapRequest extends MapRequest {
  readonly flags: number;
}

/**
 * Maps a range. `again` (only with `handleFault`; otherwise the walk goes on) for an entry that another walk is changing, or that already
 * maps the same memory, with whatever permissions: it is left as it is, and the guest may retry. `invalid` for a protection that cannot
 * be encoded; `noMemory` when the cache ran dry: earlier leaves, and possibly an empty table, then stay. TLB maintenance for what was
 * replaced is complete on return; DSB ISHST follows the walk, failed or not.
 */
export function* stage2Map(pgt: Stage2Pgtable, request: ParallelMapRequest): Op<Outcome> {
  const { ipa, size, phys, prot, cache, flags } = request;
  const attributes = pgt.attributes.encode(prot);
  if (attributes === null) return 'invalid';
  const target = new MemoryTarget(pgt.geometry, phys, attributes);
  const update = updateFor(flags);
  const outcome = yield* walk(
    pgt,
    ipa,
    size,
    new MapVisitor(pgt, { flags, target, update, cache }),
  );
  yield* pgt.ops.publishEntries();
  return outcome;
}

/** An owner who is not the guest. */
const OWNER_MAX = 1;

/**
 * Gives every page of [`ipa`, `ipa + size`) to an owner, 0 or 1: what was mapped is broken, whole blocks with it, and the owner noted in
 * its place; 0 leaves the range empty. `invalid` for another owner, `noMemory` when the cache ran dry. Exclusive.
 */
export function* stage2SetOwner(
  pgt: Stage2Pgtable,
  request: {
    readonly ipa: number;
    readonly size: number;
    readonly owner: number;
    readonly cache: TableCache | null;
  },
): Op<Outcome> {
  const { ipa, size, owner, cache } = request;
  if (owner > OWNER_MAX) return 'invalid';
  const target = new AnnotationTarget(ownerAnnotation(owner));
  const visitor = new MapVisitor(pgt, { flags: 0, target, update: EXCLUSIVE, cache });
  return yield* walk(pgt, ipa, size, visitor);
}
