import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Level } from '../../src/machine/address.ts';
import { GEOMETRY_4K, Geometry, stage2Root } from '../../src/machine/geometry.ts';

const LEVELS = [0, 1, 2, 3] as const;

describe('each granule', () => {
  test.each([
    [12, 512, [39, 30, 21, 12], 1],
    [14, 2048, [47, 36, 25, 14], 2],
    [16, 8192, [55, 42, 29, 16], 2],
  ] as const)('with pages of 2^%d bytes has the sizes of the architecture', (...row) => {
    const [pageShift, entries, shifts, blockLevelMin] = row;
    const geometry = new Geometry(pageShift);
    expect(geometry).toMatchObject({ pageShift, pageBytes: 2 ** pageShift, entries });
    expect(geometry.blockLevelMin).toBe(blockLevelMin);
    expect(LEVELS.map((level) => geometry.sizeOf(level))).toEqual(shifts.map((s) => 2 ** s));
  });

  test('computes what exact integers say', () => {
    const shapes = fc.record({
      pageShift: fc.constantFrom(12, 14, 16),
      level: fc.constantFrom<Level>(...LEVELS),
      address: fc.bigInt({ min: 0n, max: 2n ** 52n - 2n ** 16n }),
    });
    fc.assert(
      fc.property(shapes, ({ pageShift, level, address }) => {
        const geometry = new Geometry(pageShift);
        const shift = BigInt((4 - level) * (pageShift - 3) + 3);
        const page = BigInt(pageShift);
        const at = Number(address);
        expect(BigInt(geometry.blockNumber(at, level))).toBe(address >> shift);
        expect(BigInt(geometry.indexOf(at, level))).toBe(
          (address >> shift) & (2n ** (page - 3n) - 1n),
        );
        expect(BigInt(geometry.alignDown(at, level))).toBe((address >> shift) << shift);
        expect(geometry.isAligned(at, level)).toBe((address >> shift) << shift === address);
        expect(BigInt(geometry.rootPage(at, level))).toBe(address >> (shift + page - 3n));
        expect(BigInt(geometry.pageDown(at))).toBe((address >> page) << page);
        expect(BigInt(geometry.pageUp(at))).toBe(((address + 2n ** page - 1n) >> page) << page);
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  test('knows an aligned address from its neighbours', () => {
    const at = 0x7f_4020_0000;
    expect([at, at + 4096, at - 1].map((a) => GEOMETRY_4K.isAligned(a, 2))).toEqual([
      true,
      false,
      false,
    ]);
    expect(GEOMETRY_4K.pageUp(at)).toBe(at);
    expect(GEOMETRY_4K.pageUp(at + 1)).toBe(at + 4096);
  });
});

describe('the root of a stage-2 table', () => {
  /** IPA bits; then start level and pages with 4K, 16K and 64K pages. */
  const rows: readonly (readonly [number, string, string, string])[] = [
    [32, '2/4', '2/1', '2/1'],
    [34, '2/16', '2/1', '2/1'],
    [35, '1/1', '2/1', '2/1'],
    [36, '1/1', '2/1', '2/1'],
    [39, '1/1', '2/8', '2/1'],
    [40, '1/2', '2/16', '2/1'],
    [42, '1/8', '1/1', '2/1'],
    [43, '1/16', '1/1', '2/2'],
    [44, '0/1', '1/1', '2/4'],
    [46, '0/1', '1/1', '2/16'],
    [48, '0/1', '1/2', '1/1'],
    [52, '0/16', '0/1', '1/1'],
  ];

  test.each(rows)('for %d bits of IPA has its levels and pages', (ipaBits, ...shapes) => {
    const found = [12, 14, 16].map((pageShift) => {
      const { startLevel, pages } = stage2Root(new Geometry(pageShift), ipaBits);
      return `${startLevel}/${pages}`;
    });
    expect(found).toEqual(shapes);
  });
});
