/** How large a mapping may be, for each granule: the ladder of sizes, what a slot supports, and where it ends (specification 5E, 3 and 4). */
import { describe, expect, test } from 'vitest';
import type { Vma, VmaKind } from '../../src/kvm/host/vma.ts';
import { exactLevel, fitsBlock, ladderLevel, mappingSize } from '../../src/kvm/mapping-size.ts';
import type { Gfn, Hva } from '../../src/machine/address.ts';
import { Geometry } from '../../src/machine/geometry.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Aligned to every block, the 16G of contiguous blocks with 64K pages included. */
const BASE = 2 ** 40;

interface SlotShape {
  /** Bytes by which the slot begins after {@link BASE}, in the guest and for the user. */
  readonly ipa?: number;
  readonly hva?: number;
  readonly bytes?: number;
}

function placeOf(
  geometry: Geometry,
  offset: number,
  { ipa = 0, hva = 0, bytes = 2 ** 36 }: SlotShape,
) {
  const slot = {
    baseGfn: ((BASE + ipa) / geometry.pageBytes) as Gfn,
    pages: bytes / geometry.pageBytes,
    hva: (BASE + hva) as Hva,
  };
  return { geometry, slot, hva: (BASE + offset) as Hva };
}

/** Granule, size of a huge page, level by the ladder, level by `legacy`. */
const SIZES: readonly (readonly [number, number, number, number])[] = [
  [12, 64 * KIB, 3, 3],
  [12, 2 * MIB, 2, 2],
  [12, 32 * MIB, 2, 3],
  [12, GIB, 1, 1],
  [14, 2 * MIB, 3, 3],
  [14, 32 * MIB, 2, 2],
  [14, GIB, 2, 3],
  [16, 2 * MIB, 3, 3],
  [16, 512 * MIB, 2, 2],
  [16, 16 * GIB, 2, 3],
];

describe.each(SIZES)(
  'pages of 2^%i, huge ones of %i bytes',
  (pageShift, hugeBytes, ladder, exact) => {
    const geometry = new Geometry(pageShift);

    test('by the ladder, and by legacy', () => {
      const place = placeOf(geometry, 20 * GIB + geometry.pageBytes, {});
      expect(ladderLevel(place, hugeBytes)).toBe(ladder);
      expect(exactLevel(place, hugeBytes)).toBe(exact);
    });

    test('a page is all that a slot of another offset has', () => {
      const place = placeOf(geometry, 20 * GIB, { ipa: geometry.pageBytes });
      expect([ladderLevel(place, hugeBytes), exactLevel(place, hugeBytes)]).toEqual([3, 3]);
    });
  },
);

test('1G steps down to 2M, and 2M to a page, by what the slot supports', () => {
  const geometry = new Geometry(12);
  const levels = (shape: SlotShape, offset: number): number[] => {
    const place = placeOf(geometry, offset, shape);
    return [ladderLevel(place, GIB), exactLevel(place, GIB), ladderLevel(place, 2 * MIB)];
  };
  expect(levels({ ipa: 2 * MIB }, 8 * GIB)).toEqual([2, 3, 2]);
  expect(levels({ ipa: 4 * KIB }, 8 * GIB)).toEqual([3, 3, 3]);
  expect(levels({ ipa: MIB, hva: MIB }, 8 * GIB)).toEqual([1, 1, 2]);
  // In the first and last, incomplete blocks.
  expect(levels({ ipa: MIB, hva: MIB }, GIB - 4 * KIB)).toEqual([2, 3, 2]);
  expect(levels({ ipa: MIB, hva: MIB }, MIB)).toEqual([3, 3, 3]);
  expect(levels({ bytes: 2 * GIB + 3 * MIB }, 2 * GIB)).toEqual([2, 3, 2]);
  expect(levels({ bytes: 2 * GIB + 3 * MIB }, 2 * GIB + 2 * MIB)).toEqual([3, 3, 3]);
});

describe.each([
  [12, 1, GIB],
  [12, 2, 2 * MIB],
  [14, 2, 32 * MIB],
  [16, 2, 512 * MIB],
] as const)('pages of 2^%i, blocks of level %i', (pageShift, level, size) => {
  const geometry = new Geometry(pageShift);
  const page = geometry.pageBytes;
  const fits = (offset: number, shape: SlotShape): boolean =>
    fitsBlock(placeOf(geometry, offset, shape), level);

  test('the block around an address lies in the slot, to the page', () => {
    expect(geometry.sizeOf(level)).toBe(size);
    const exact = { ipa: size, hva: size, bytes: size };
    expect([fits(size, exact), fits(2 * size - page, exact)]).toEqual([true, true]);
    const late = { ipa: size + page, hva: size + page, bytes: size };
    expect([fits(size + page, late), fits(2 * size, late)]).toEqual([false, false]);
    expect(fits(2 * size - page, { ...exact, bytes: size - page })).toBe(false);
    const early = { ipa: size - page, hva: size - page, bytes: size + page };
    expect([fits(size - page, early), fits(size, early)]).toEqual([false, true]);
    expect(fits(3 * size - page, { ...exact, bytes: 2 * size })).toBe(true);
    expect(fits(3 * size - page, { ...exact, bytes: 2 * size - page })).toBe(false);
  });

  test('guest and user addresses differ by whole blocks', () => {
    const inside = 4 * size + page;
    expect(fits(inside, { ipa: 3 * size, hva: size })).toBe(true);
    expect(fits(inside, { ipa: 3 * size + page, hva: size })).toBe(false);
    expect(fits(inside, { ipa: 3 * size, hva: size + page })).toBe(false);
    expect(fits(inside, { ipa: 3 * size + size / 2, hva: size })).toBe(false);
    expect(fits(inside, { ipa: size + page, hva: 3 * size + page })).toBe(true);
  });
});

describe('pages are forced', () => {
  const geometry = new Geometry(12);
  const place = placeOf(geometry, 8 * GIB, {});
  const size = (kind: VmaKind, hugeBytes: number, logging: boolean) => {
    const vma: Vma = { hva: BASE as Hva, bytes: 2 ** 36, kind, hugeBytes, isWritable: true };
    return mappingSize(place, vma, { logging, stage2: { hugetlbLevel: ladderLevel } });
  };
  const FORCED = { level: 3, forcePte: true };

  test.each<[VmaKind, number, object, object]>([
    ['anonymous', 4 * KIB, { level: 3, forcePte: false }, FORCED],
    ['transparentHuge', 4 * KIB, { level: 3, forcePte: false }, FORCED],
    ['shared', 4 * KIB, { level: 3, forcePte: false }, FORCED],
    ['pfnmap', 4 * KIB, FORCED, FORCED],
    ['hugetlb', 64 * KIB, FORCED, FORCED],
    ['hugetlb', 2 * MIB, { level: 2, forcePte: false }, FORCED],
    ['hugetlb', GIB, { level: 1, forcePte: false }, FORCED],
  ])('%s of %i bytes: without logging, with it', (kind, hugeBytes, plain, logged) => {
    expect([size(kind, hugeBytes, false), size(kind, hugeBytes, true)]).toEqual([plain, logged]);
  });
});
