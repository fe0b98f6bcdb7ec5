/** Where output addresses stand: the software's format, and the hardware's own reading of it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { phys } from '../../src/machine/address.ts';
import { Attributes, Descriptor } from '../../src/machine/descriptor.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { addressField, stage2Regime } from '../../src/machine/hardware-walk.ts';
import { encodeVtcr } from '../../src/machine/vtcr.ts';

interface Format {
  readonly name: string;
  readonly geometry: Geometry;
  readonly bits: number;
}

const FORMATS: readonly Format[] = [
  { name: '4K', geometry: new Geometry(12), bits: 48 },
  { name: '4K, LPA2', geometry: new Geometry(12, true), bits: 52 },
  { name: '16K', geometry: new Geometry(14), bits: 48 },
  { name: '16K, LPA2', geometry: new Geometry(14, true), bits: 52 },
  { name: '64K', geometry: new Geometry(16), bits: 52 },
];

/** What the hardware takes as the address of a descriptor, from the raw halves and VTCR_EL2. */
function asHardware({ geometry }: Format, { lo, hi }: Descriptor): number {
  const ipaBits = geometry.lpa2 ? 52 : 40;
  const fields = { geometry, ipaBits, paBits: 52, hardwareAccessFlag: false } as const;
  const vtcr = encodeVtcr({ ...fields, vmidBits: 8 });
  return addressField(lo, hi, stage2Regime({ vtcr, vttbr: { lo: 0, hi: 0 } }).highBits);
}

describe.each(FORMATS)('$name', (format) => {
  const { geometry, bits } = format;
  const pages = fc.integer({ min: 0, max: 2 ** (bits - geometry.pageShift) - 1 });

  test('an address comes back from a leaf and a table, for software and hardware', () => {
    const attributes = new Attributes(0x7c0 & (geometry.lpa2 ? ~0x300 : ~0), 0x40_0000);
    fc.assert(
      fc.property(pages, (page) => {
        const address = phys(page * geometry.pageBytes);
        const leaf = Descriptor.leaf(geometry, address, 3, attributes);
        const table = Descriptor.table(geometry, address);
        for (const entry of [leaf, table, leaf.invalidated()]) {
          expect(entry.address(geometry)).toBe(address);
          expect(asHardware(format, entry)).toBe(address);
        }
        expect([leaf.isValid(), leaf.isYoung(), leaf.isExecutable()]).toEqual([true, true, false]);
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  test('the address field is all that differs between two leaves', () => {
    const attributes = new Attributes(0x4fc, 0x40_0000);
    const none = Descriptor.leaf(geometry, phys(0), 3, attributes).toBigInt();
    const highest = phys(2 ** bits - geometry.pageBytes);
    const all = Descriptor.leaf(geometry, highest, 3, attributes).toBigInt();
    const field = {
      '4K': 0x0000_ffff_ffff_f000n,
      '4K, LPA2': 0x0003_ffff_ffff_f300n,
      '16K': 0x0000_ffff_ffff_c000n,
      '16K, LPA2': 0x0003_ffff_ffff_c300n,
      '64K': 0x0000_ffff_ffff_f000n,
    }[format.name];
    expect(all ^ none).toBe(field);
  });
});

test.each([
  ['4K, LPA2', new Geometry(12, true), 0x8_4000_0000_1000, 0x0000_4000_0000_1203n],
  ['4K, LPA2, bits 49:48', new Geometry(12, true), 0x3_0000_0000_1000, 0x0003_0000_0000_1003n],
  ['16K, LPA2', new Geometry(14, true), 0xc_0000_0000_4000, 0x0000_0000_0000_4303n],
  ['64K', new Geometry(16), 0xa_0000_0001_0000, 0x0000_0000_0001_a003n],
] as const)('a table pointer in %s', (_name, geometry, address, bits) => {
  expect(Descriptor.table(geometry, phys(address)).toBigInt()).toBe(bits);
});

test('the 64K granule has no LPA2', () => {
  expect(() => new Geometry(16, true)).toThrow('LPA2 is for the 4K and 16K granules');
});
