import { describe, expect, test } from 'vitest';
import { phys } from '../../src/machine/address.ts';
import { Attributes, Descriptor } from '../../src/machine/descriptor.ts';
import { Prot, permissions, stage2Attributes } from '../../src/pgtable/stage2-prot.ts';

const { r, w, x, device } = Prot;

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
  ] as const)('%s has its published bits', (_what, prot, level, bits) => {
    const attributes = stage2Attributes(prot);
    expect(attributes).toBeInstanceOf(Attributes);
    const leaf = Descriptor.leaf(phys(0x8000_0000), level, attributes as Attributes);
    expect(leaf.toBigInt()).toBe(bits);
  });

  test.each([0, r, w, r | w])('%d with device memory is never executable', (prot) => {
    expect(stage2Attributes(prot | device | x)).toBeNull();
    expect(stage2Attributes(prot | device)).not.toBeNull();
  });

  test('gives R and W one bit each', () => {
    expect([0, r, w, r | w, x, device].map(permissions)).toEqual([0, 0x40, 0x80, 0xc0, 0, 0]);
  });
});
