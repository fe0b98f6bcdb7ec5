import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Phys, Vmid } from '../../src/machine/address.ts';
import { GEOMETRY_4K, Geometry, stage2Root } from '../../src/machine/geometry.ts';
import { decodeVtcr, decodeVttbr, encodeVtcr, encodeVttbr } from '../../src/machine/vtcr.ts';

const MACHINE = {
  geometry: GEOMETRY_4K,
  ipaBits: 40,
  paBits: 48,
  hardwareAccessFlag: true,
  vmidBits: 8,
} as const;
const GEOMETRY_16K = new Geometry(14);
const GEOMETRY_64K = new Geometry(16);
const GEOMETRY_4K_LPA2 = new Geometry(12, true);
const GEOMETRY_16K_LPA2 = new Geometry(14, true);

describe('VTCR_EL2', () => {
  test('has the published value for 40 bits of IPA', () => {
    expect(encodeVtcr(MACHINE)).toBe(0x8025_3558);
  });

  test.each([
    ['no hardware access flag', { hardwareAccessFlag: false }, 0x8005_3558],
    ['16-bit VMIDs', { vmidBits: 16 }, 0x802d_3558],
    ['44 bits of PA', { paBits: 44 }, 0x8024_3558],
    ['32 bits of IPA, start level 2', { ipaBits: 32 }, 0x8025_3520],
    ['48 bits of IPA, start level 0', { ipaBits: 48 }, 0x8025_3590],
  ] as const)('%s', (_what, change, vtcr) => {
    expect(encodeVtcr({ ...MACHINE, ...change })).toBe(vtcr);
  });

  // Specification section 1.7: levels, start level, SL0 and root pages of a table per granule.
  test.each([
    [32, '2/2/0/4', '2/2/1/1', '2/2/1/1'],
    [34, '2/2/0/16', '2/2/1/1', '2/2/1/1'],
    [35, '3/1/1/1', '2/2/1/1', '2/2/1/1'],
    [36, '3/1/1/1', '2/2/1/1', '2/2/1/1'],
    [39, '3/1/1/1', '2/2/1/8', '2/2/1/1'],
    [40, '3/1/1/2', '2/2/1/16', '2/2/1/1'],
    [42, '3/1/1/8', '3/1/2/1', '2/2/1/1'],
    [43, '3/1/1/16', '3/1/2/1', '2/2/1/2'],
    [44, '4/0/2/1', '3/1/2/1', '2/2/1/4'],
    [46, '4/0/2/1', '3/1/2/1', '2/2/1/16'],
    [48, '4/0/2/1', '3/1/2/2', '3/1/2/1'],
    [52, '4/0/2/16', '4/0/3/1', '3/1/2/1'],
  ])('%d bits of IPA, 4K, 16K and 64K', (ipaBits, ...expected) => {
    const shown = [GEOMETRY_4K, GEOMETRY_16K, GEOMETRY_64K].map((geometry) => {
      const { startLevel, pages } = stage2Root(geometry, ipaBits);
      const vtcr = encodeVtcr({ ...MACHINE, geometry, ipaBits, paBits: 52 });
      return [4 - startLevel, startLevel, (vtcr >>> 6) & 3, pages].join('/');
    });
    expect(shown).toEqual(expected);
  });

  test.each([
    ['4K', GEOMETRY_4K, 0],
    ['64K', GEOMETRY_64K, 1],
    ['16K', GEOMETRY_16K, 2],
  ])('TG0 says the granule: %s', (_what, geometry, tg0) => {
    expect((encodeVtcr({ ...MACHINE, geometry }) >>> 14) & 3).toBe(tg0);
  });

  test('DS is bit 32', () => {
    expect(encodeVtcr({ ...MACHINE, geometry: GEOMETRY_4K_LPA2 })).toBe(0x1_8025_3558);
  });

  test('DS decodes alone', () => {
    expect([0, 0xffff_0fff, 2 ** 32, 2 ** 32 + 1].map((vtcr) => decodeVtcr(vtcr).lpa2)).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });

  test('the reserved granule is refused, and one that does not exist', () => {
    expect(() => decodeVtcr(0x8025_f558)).toThrow('VTCR_EL2.TG0 is reserved');
    const geometry = new Geometry(13);
    expect(() => encodeVtcr({ ...MACHINE, geometry })).toThrow('no granule of 2^13 bytes');
  });

  test('PS says the PARange', () => {
    const ps = [32, 36, 40, 42, 44, 48, 52].map(
      (paBits) => (encodeVtcr({ ...MACHINE, paBits }) >>> 16) & 7,
    );
    expect(ps).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(() => encodeVtcr({ ...MACHINE, paBits: 41 })).toThrow('no PARange of 41 bits');
  });

  test('decodes to what it was made from', () => {
    const fields = fc.record({
      geometry: fc.constantFrom(
        GEOMETRY_4K,
        GEOMETRY_16K,
        GEOMETRY_64K,
        GEOMETRY_4K_LPA2,
        GEOMETRY_16K_LPA2,
      ),
      ipaBits: fc.integer({ min: 32, max: 52 }),
      paBits: fc.constantFrom(32, 36, 40, 42, 44, 48, 52),
      hardwareAccessFlag: fc.boolean(),
      vmidBits: fc.constantFrom<8 | 16>(8, 16),
    });
    fc.assert(
      fc.property(fields, (from) => {
        const { geometry, ipaBits } = from;
        const { startLevel } = stage2Root(geometry, ipaBits);
        const { pageShift, lpa2 } = geometry;
        expect(decodeVtcr(encodeVtcr(from))).toEqual({ pageShift, ipaBits, startLevel, lpa2 });
      }),
      { seed: 6, numRuns: 200 },
    );
  });
});

describe('VTTBR_EL2', () => {
  test('has the VMID above and the root below', () => {
    const { lo, hi } = encodeVttbr(0x10_8000_2000 as Phys, 0xff01 as Vmid);
    expect([lo >>> 0, hi >>> 0]).toEqual([0x8000_2000, 0xff01_0010]);
  });

  test('has the root’s bits 51:48 in bits 5:2', () => {
    const { lo, hi } = encodeVttbr(0xa_0010_8000_2000 as Phys, 1 as Vmid);
    expect([lo >>> 0, hi >>> 0]).toEqual([0x8000_2028, 0x0001_0010]);
  });

  test('decodes to what it was made from', () => {
    const page = fc.integer({ min: 0, max: 2 ** 40 - 1 });
    fc.assert(
      fc.property(page, fc.integer({ min: 0, max: 0xffff }), (number, vmid) => {
        const root = number * 4096;
        const { lo, hi } = encodeVttbr(root as Phys, vmid as Vmid);
        expect(decodeVttbr(lo, hi)).toEqual({ root, vmid });
      }),
      { seed: 7, numRuns: 200 },
    );
  });
});
