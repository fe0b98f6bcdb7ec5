import { describe, expect, test } from 'vitest';
import { phys } from '../../src/machine/address.ts';
import { Attributes, Descriptor } from '../../src/machine/descriptor.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import { Prot, Stage2Attributes, permissions } from '../../src/pgtable/stage2-prot.ts';

const { r, w, x, device, normalNC, ux, px } = Prot;
const plain = new Stage2Attributes({ fwb: false, xnx: false, lpa2: false });
const forced = new Stage2Attributes({ fwb: true, xnx: false, lpa2: false });
const wide = new Stage2Attributes({ fwb: false, xnx: false, lpa2: true });
const byLevel = new Stage2Attributes({ fwb: false, xnx: true, lpa2: false });

/** The bits around the field are set: they must not be read with it. */
const leafOf = (memAttr: number): Descriptor => new Descriptor((memAttr << 2) | ~0x3c, -1);

function bitsOf(encoding: Stage2Attributes, prot: number, level: 1 | 2 | 3 = 3): bigint {
  const attributes = encoding.encode(prot);
  expect(attributes).toBeInstanceOf(Attributes);
  const pa = phys(0x8000_0000);
  return Descriptor.leaf(GEOMETRY_4K, pa, level, attributes as Attributes).toBigInt();
}

describe('a protection', () => {
  test.each([
    ['page RW', r | w, 3, 0x0040_0000_8000_07ffn],
    ['page RO', r, 3, 0x0040_0000_8000_077fn],
    ['page RW, executable', r | w | x, 3, 0x0000_0000_8000_07ffn],
    ['page W alone', w, 3, 0x0040_0000_8000_07bfn],
    ['page without any', 0, 3, 0x0040_0000_8000_073fn],
    ['page R, executable', r | x, 3, 0x0000_0000_8000_077fn],
    ['2M block RW', r | w, 2, 0x0040_0000_8000_07fdn],
    ['1G block RW, executable', r | w | x, 1, 0x0000_0000_8000_07fdn],
    ['device page RW', r | w | device, 3, 0x0040_0000_8000_07c7n],
    ['device page RO', r | device, 3, 0x0040_0000_8000_0747n],
    ['page RW with the lowest software bit', r | w | Prot.sw0, 3, 0x00c0_0000_8000_07ffn],
    ['page RW with the others', r | w | Prot.sw1 | Prot.sw2 | Prot.sw3, 3, 0x0740_0000_8000_07ffn],
  ] as const)('%s has its published bits', (_what, prot, level, bits) => {
    expect(bitsOf(plain, prot, level)).toBe(bits);
  });

  test.each([0, r, w, r | w])('%d with device memory is never executable', (prot) => {
    expect(plain.encode(prot | device | x)).toBeNull();
    expect(plain.encode(prot | normalNC | x)).toBeNull();
    expect(byLevel.encode(prot | device | px)).toBeNull();
    expect(byLevel.encode(prot | device | ux)).toBeNull();
    expect(plain.encode(prot | device)).not.toBeNull();
  });

  test('cannot have two memory types', () => {
    expect(plain.encode(r | device | normalNC)).toBeNull();
  });

  test.each([
    ['page RW', r | w, 0x0040_0000_8000_07dbn],
    ['device page RW', r | w | device, 0x0040_0000_8000_07c7n],
    ['Non-cacheable page RW', r | w | normalNC, 0x0040_0000_8000_07d7n],
  ])('%s with FWB', (_what, prot, bits) => {
    expect(bitsOf(forced, prot)).toBe(bits);
  });

  test('is Non-cacheable without FWB, too', () => {
    expect(bitsOf(plain, r | w | normalNC)).toBe(0x0040_0000_8000_07d7n);
  });

  test('with LPA2 has no SH: the bits are the address’s', () => {
    expect(bitsOf(wide, r | w)).toBe(0x0040_0000_8000_04ffn);
  });

  test.each([
    ['nobody', r, 0x0040_0000_8000_077fn],
    ['EL0 and EL1', r | x, 0x0000_0000_8000_077fn],
    ['EL0 and EL1, one by one', r | ux | px, 0x0000_0000_8000_077fn],
    ['EL0', r | ux, 0x0020_0000_8000_077fn],
    ['EL1', r | px, 0x0060_0000_8000_077fn],
  ])('with XNX is executable by %s', (_who, prot, bits) => {
    expect(bitsOf(byLevel, prot)).toBe(bits);
  });

  test('without XNX cannot tell EL0 from EL1', () => {
    expect([plain.encode(r | ux), plain.encode(r | px)]).toEqual([null, null]);
    expect(bitsOf(plain, r | ux | px)).toBe(0x0000_0000_8000_077fn);
  });

  test('needs cleaning when it is Normal Write-Back and the guest can turn caches off', () => {
    const values = [0xf, 0x1, 0x5, 0x0, 0x7, 0x6];
    expect(values.filter((value) => plain.needsCleaning(leafOf(value)))).toEqual([0xf]);
    expect(values.filter((value) => forced.needsCleaning(leafOf(value)))).toEqual([]);
    expect([plain.fwb, forced.fwb]).toEqual([false, true]);
  });

  test('gives R and W one bit each', () => {
    expect([0, r, w, r | w, x, device].map(permissions)).toEqual([0, 0x40, 0x80, 0xc0, 0, 0]);
  });
});
