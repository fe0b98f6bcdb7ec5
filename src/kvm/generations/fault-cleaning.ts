import type { Op } from '#port';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { FaultMapping } from '../stage2-operations.ts';

/**
 * Cache maintenance before a fault is mapped, up to 5.13 (section 5E, step 14): memory that was not mapped is cleaned, so that a guest with
 * its caches off sees what is there; memory that will be executed has its instructions invalidated.
 */
export function* cleanForFault(pgt: Stage2Pgtable, mapping: FaultMapping): Op<void> {
  const { isPermission, isDevice, isExec, frame, size } = mapping;
  if (!isPermission && !isDevice && !pgt.attributes.fwb)
    yield* pgt.ops.dcacheCleanInvalidate(frame, size);
  if (isExec) yield* pgt.ops.icacheInvalidate(frame, size);
}
