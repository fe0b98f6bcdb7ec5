import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import type { VisitContext } from './walker.ts';

/**
 * Whether a leaf of the visited level can map what is left of the range to `phys` (specification section 4.3): the level has leaves, the
 * entry lies whole in the range, and both addresses are aligned to it. At level 3 always: everything is page aligned.
 */
export function isLeafAllowed(geometry: Geometry, context: VisitContext, phys: number): boolean {
  const { level, addr, range } = context;
  if (level === LAST_LEVEL) return true;
  return (
    level >= geometry.blockLevelMin &&
    geometry.sizeOf(level) <= range.end - addr &&
    geometry.isAligned(addr, level) &&
    geometry.isAligned(phys, level)
  );
}
