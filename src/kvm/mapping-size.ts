/** How large the mapping of a fault may be: a page, or a block (specification section 5E, steps 2 to 5). */
import type { Gfn, Hva, Level } from '../machine/address.ts';
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import type { Vma } from './host/vma.ts';
import type { Stage2Operations } from './stage2-operations.ts';

/** What of a slot decides on sizes. */
export interface SlotExtent {
  readonly baseGfn: Gfn;
  readonly pages: number;
  /** User address of the first page. */
  readonly hva: Hva;
}

/** An address in a slot. */
export interface SlotPlace {
  readonly geometry: Geometry;
  readonly slot: SlotExtent;
  readonly hva: Hva;
}

/** The level of a leaf; `forcePte`: a page, even where the host turns out to have a huge one. */
export interface MappingSize {
  readonly level: Level;
  readonly forcePte: boolean;
}

/** The level of a transparent huge page (the kernel's PMD), whatever the granule. */
export const TRANSPARENT_HUGE_LEVEL: Level = 2;

/** Steps 3 and 4: dirty pages are recorded one by one, and what a PFN mapping has behind it is not known. */
export function mappingSize(
  place: SlotPlace,
  vma: Vma,
  options: { readonly logging: boolean; readonly stage2: Pick<Stage2Operations, 'hugetlbLevel'> },
): MappingSize {
  if (options.logging || vma.kind === 'pfnmap') return { level: LAST_LEVEL, forcePte: true };
  if (vma.hugeBytes === place.geometry.pageBytes) return { level: LAST_LEVEL, forcePte: false };
  const level = options.stage2.hugetlbLevel(place, vma.hugeBytes);
  return { level, forcePte: level === LAST_LEVEL };
}

/**
 * The ladder of profile `5.10`: the largest block that is no larger than the huge page and fits. So a huge page of contiguous blocks is
 * mapped by single ones, and one of contiguous pages by pages.
 */
export function ladderLevel(place: SlotPlace, hugeBytes: number): Level {
  const { geometry } = place;
  for (let level = geometry.blockLevelMin; level < LAST_LEVEL; level = (level + 1) as Level) {
    if (geometry.sizeOf(level) <= hugeBytes && fitsBlock(place, level)) return level;
  }
  return LAST_LEVEL;
}

/** `legacy`: a block of exactly the huge page's size, or pages. */
export function exactLevel(place: SlotPlace, hugeBytes: number): Level {
  const { geometry } = place;
  for (let level = geometry.blockLevelMin; level < LAST_LEVEL; level = (level + 1) as Level) {
    if (geometry.sizeOf(level) === hugeBytes && fitsBlock(place, level)) return level;
  }
  return LAST_LEVEL;
}

/**
 * Whether the slot supports blocks of `level` at the address: guest and user addresses of the slot differ by whole blocks, and the block
 * around the address lies in the slot. Otherwise a block would map memory that the slot does not have.
 */
export function fitsBlock({ geometry, slot, hva }: SlotPlace, level: Level): boolean {
  const size = geometry.sizeOf(level);
  const distance = slot.hva - slot.baseGfn * geometry.pageBytes;
  const block = geometry.alignDown(hva, level);
  return (
    geometry.isAligned(distance, level) &&
    block >= slot.hva &&
    block + size <= slot.hva + slot.pages * geometry.pageBytes
  );
}
