import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Phys, Vmid } from '../../src/machine/address.ts';
import { GEOMETRY_4K, stage2Root } from '../../src/machine/geometry.ts';
import { decodeVtcr, decodeVttbr, encodeVtcr, encodeVttbr } from '../../src/machine/vtcr.ts';

const MACHINE = { ipaBits: 40, paBits: 48, hardwareAccessFlag: true, vmidBits: 8 } as const;

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

  test('PS says the PARange', () => {
    const ps = [32, 36, 40, 42, 44, 48, 52].map(
      (paBits) => (encodeVtcr({ ...MACHINE, paBits }) >>> 16) & 7,
    );
    expect(ps).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(() => encodeVtcr({ ...MACHINE, paBits: 41 })).toThrow('no PARange of 41 bits');
  });

  test('decodes to what it was made from', () => {
    const fields = fc.record({
      ipaBits: fc.integer({ min: 32, max: 52 }),
      paBits: fc.constantFrom(32, 36, 40, 42, 44, 48, 52),
      hardwareAccessFlag: fc.boolean(),
      vmidBits: fc.constantFrom<8 | 16>(8, 16),
    });
    fc.assert(
      fc.property(fields, (from) => {
        const { startLevel } = stage2Root(GEOMETRY_4K, from.ipaBits);
        expect(decodeVtcr(encodeVtcr(from))).toEqual({ ipaBits: from.ipaBits, startLevel });
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

  test('decodes to what it was made from', () => {
    const page = fc.integer({ min: 0, max: 2 ** 36 - 1 });
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
