import type { Op } from '#port';
import type { Level } from '../../machine/address.ts';
import { loadDescriptor, type Descriptor } from '../../machine/descriptor.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { Descent, NO_ENTRY } from './descent.ts';
import { replaceLeaf } from './entry.ts';
import { legacyUnmap } from './unmap.ts';

/** A block to be stored for the block of `level` around `ipa`. */
export interface HugeRequest {
  readonly ipa: number;
  readonly leaf: Descriptor;
  readonly level: Level;
  readonly cache: TableCache;
}

/**
 * Stores a block. A table in the way is unmapped, page by page with a TLBI each, which may free tables above it too; then the descent is
 * made again. `invalid` when the table has no blocks of that level. Throws when the cache is too small, when a larger block is in the way,
 * and for a block of other memory: a notifier has to unmap that first.
 */
export function* setHuge(pgt: Stage2Pgtable, request: HugeRequest): Op<Outcome> {
  const { ipa, level } = request;
  const { geometry, startLevel } = pgt;
  if (level < startLevel || level < geometry.blockLevelMin) return 'invalid';
  for (;;) {
    pgt.ops.walkBegin();
    const isSet = yield* trySetHuge(pgt, request);
    pgt.ops.walkEnd();
    if (isSet) return 'ok';
    yield* legacyUnmap(pgt, geometry.alignDown(ipa, level), geometry.sizeOf(level));
  }
}

/** False: a table is in the way. */
function* trySetHuge(pgt: Stage2Pgtable, request: HugeRequest): Op<boolean> {
  const { ipa, leaf, level, cache } = request;
  const descent = new Descent(pgt, ipa, { cache, logging: false });
  const at = level === 1 ? yield* descent.pud() : yield* descent.pmd();
  if (at === NO_ENTRY) throw new Error('setHuge: the cache ran dry');
  const old = yield* loadDescriptor(at);
  if (old.isTable(level)) return false;
  // No change: a leaf that another vCPU uses is not broken for nothing.
  if (old.equals(leaf)) return true;
  if (old.isValid() && old.address(pgt.geometry) !== leaf.address(pgt.geometry))
    throw new Error('setHuge: a block of other memory was still mapped');
  yield* replaceLeaf(pgt, at, old, leaf, { ipa, level });
  return true;
}
