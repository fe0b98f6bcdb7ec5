/** Where the words of a host process lie: computed from its areas alone, so that every agent computes the same. */
import type { Word } from '#port';
import type { Hva, Level } from '../../machine/address.ts';
import { LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import { HOST_NUMBERS, HOST_PTE_BYTES } from './host-pte.ts';
import { userfaultQueueLayout } from './userfault-queue.ts';
import type { UserfaultLayout } from './userfault.ts';
import type { VmaLayout, VmaSpec } from './vma.ts';

/** First user address of guest memory, aligned to every block. */
export const HVA_BASE: Hva = 0x7f00_0000_0000 as Hva;

/** What the areas need to know of the machine. */
export interface HostMemorySpec {
  readonly geometry: Geometry;
  /** Ascending, apart from each other, from {@link HVA_BASE} on. */
  readonly vmas: readonly VmaSpec[];
  /** Frames of the guest zone. */
  readonly frames: number;
}

/** Entries of the host page table at one level. */
export interface HostLevelLayout {
  readonly level: Level;
  readonly entries: Word;
}

/** All words start zeroed: nothing present. */
export interface HostMemoryLayout {
  readonly geometry: Geometry;
  readonly vmas: readonly VmaLayout[];
  /** The levels that some area can use, ascending; the last is the pages'. */
  readonly levels: readonly HostLevelLayout[];
  /** Per block of level 2: its pages' entries that are not empty. Only with transparent huge pages. */
  readonly populated: Word;
  /** Per page of the shared object: an entry as in the page table. */
  readonly shared: Word;
  readonly sharedPages: number;
  /** Per frame of the guest zone: {@link PageFlag} bits. */
  readonly pageFlags: Word;
  /** Waitable: moves of pages that are over. */
  readonly moves: Word;
  /** The zero page, and the first of the huge zero page: number plus 1. */
  readonly zeroPage: Word;
  readonly hugeZeroPage: Word;
}

/** Hands out zeroed shared memory, a multiple of 8 bytes aligned. */
export interface Space {
  take(bytes: number): Word;
}

/**
 * Lays out a process.
 * @throws Error for areas that overlap or are misaligned: the caller's bug, who checks what users write.
 */
export function hostMemoryLayout(space: Space, spec: HostMemorySpec): HostMemoryLayout {
  const { geometry, vmas, frames } = spec;
  checkAreas(spec);
  const end = Math.max(HVA_BASE, ...vmas.map(({ hva, bytes }) => hva + bytes));
  const span = end - HVA_BASE;
  const isUsed = (level: Level): boolean =>
    level === LAST_LEVEL || vmas.some((vma) => blockLevelOf(geometry, vma) === level);
  const wordsOf = (level: Level): number =>
    Math.ceil(span / geometry.sizeOf(level)) * HOST_PTE_BYTES;
  const levels = ([1, 2, 3] as const).filter(isUsed);
  const sharedPages = vmas
    .filter(({ kind }) => kind === 'shared')
    .reduce((last, { pgoff, bytes }) => Math.max(last, pgoff + bytes / geometry.pageBytes), 0);
  return {
    geometry,
    vmas: vmas.map((vma) => ({
      ...vma,
      flags: space.take(4),
      userfault: userfaultLayout(space, vma, geometry.pageBytes),
    })),
    levels: levels.map((level) => ({ level, entries: space.take(wordsOf(level)) })),
    populated: space.take(vmas.some(isTransparent) ? wordsOf(2) : 0),
    shared: space.take(sharedPages * HOST_PTE_BYTES),
    sharedPages,
    pageFlags: space.take(frames * 4),
    moves: space.take(8),
    zeroPage: space.take(4),
    hugeZeroPage: space.take(4),
  };
}

/** The words of an area's registration, if it has one. */
function userfaultLayout(
  space: Space,
  { userfault, bytes }: VmaSpec,
  pageBytes: number,
): UserfaultLayout | null {
  if (userfault === undefined) return null;
  const { queues, waiters } = userfault;
  return {
    ...userfault,
    places: Array.from({ length: queues }, () => userfaultQueueLayout(space, waiters)),
    resolved: space.take((bytes / pageBytes) * 4),
  };
}

/** The lowest level whose entries can map an area: blocks for huge pages, else pages. */
function blockLevelOf(geometry: Geometry, vma: VmaSpec): Level {
  return isTransparent(vma) ? 2 : mappingLevel(geometry, vma.hugeBytes);
}

/** The level of the entries that map a page of `bytes` bytes: several, where the page is made of contiguous entries. */
export function mappingLevel(geometry: Geometry, bytes: number): Level {
  const fits = (level: Level): boolean =>
    level >= geometry.blockLevelMin && geometry.sizeOf(level) <= bytes;
  return ([1, 2] as const).find(fits) ?? LAST_LEVEL;
}

function isTransparent({ kind }: VmaSpec): boolean {
  return kind === 'transparentHuge';
}

function checkAreas({ geometry, vmas, frames }: HostMemorySpec): void {
  if (frames > HOST_NUMBERS) throw new Error(`${frames} frames do not fit into host entries`);
  let end: number = HVA_BASE;
  for (const vma of vmas) {
    const unit = vma.kind === 'hugetlb' ? vma.hugeBytes : geometry.pageBytes;
    if (vma.hva < end) throw new Error('areas overlap, or one lies below guest memory');
    if (vma.hva % unit !== 0 || vma.bytes % unit !== 0 || vma.hugeBytes % unit !== 0)
      throw new Error(`an area of kind ${vma.kind} is not made of whole pages`);
    end = vma.hva + vma.bytes;
    if (vma.userfault !== undefined && vma.kind !== 'anonymous' && vma.kind !== 'shared')
      throw new Error(`an area of kind ${vma.kind} cannot be registered with userfaultfd`);
    if (vma.kind === 'pfnmap' && vma.pgoff + vma.bytes / unit > HOST_NUMBERS)
      throw new Error('a device does not fit into host entries');
  }
}
