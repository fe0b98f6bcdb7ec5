/** Granules and sizes of leaves by the names that people write. */
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import type { Level } from '../machine/address.ts';

/** log2 of the page size of each granule. */
export const PAGE_SHIFTS = { '4K': 12, '16K': 14, '64K': 16 } as const;
export type Granule = keyof typeof PAGE_SHIFTS;
export const GRANULES: readonly Granule[] = ['4K', '16K', '64K'];

/** Sizes that a leaf can have, over all granules. */
export type LeafSize = Granule | '2M' | '1G' | '32M' | '512M';
export const LEAF_SIZES: ReadonlyMap<number, LeafSize> = new Map([
  [2 ** 12, '4K'],
  [2 ** 21, '2M'],
  [2 ** 30, '1G'],
  [2 ** 14, '16K'],
  [2 ** 25, '32M'],
  [2 ** 16, '64K'],
  [2 ** 29, '512M'],
]);

/** The granule of a geometry. */
export function granuleOf({ pageShift }: Geometry): Granule {
  const granule = GRANULES.find((name) => PAGE_SHIFTS[name] === pageShift);
  if (granule === undefined) throw new Error(`no granule of 2^${pageShift} bytes`);
  return granule;
}

/** Numbers of leaves per level, by the sizes that leaves of the granule have; pages first. */
export function leavesBySize(
  geometry: Geometry,
  perLevel: readonly [number, number, number, number],
): Partial<Record<LeafSize, number>> {
  const counts: Partial<Record<LeafSize, number>> = {};
  for (let level = LAST_LEVEL; level >= geometry.blockLevelMin; level = (level - 1) as Level) {
    const size = LEAF_SIZES.get(geometry.sizeOf(level));
    if (size === undefined) throw new Error(`leaves of ${geometry.sizeOf(level)} bytes`);
    counts[size] = perLevel[level];
  }
  return counts;
}
