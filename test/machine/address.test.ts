import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HIGH_WEIGHT, highHalf, ipa, lowHalf, phys } from '../../src/machine/address.ts';

test.each([
  [0x7fff_ffff, 0x7fff_ffff, 0],
  [0x8000_0000, -0x8000_0000, 0],
  [0xffff_f000, -0x1000, 0],
  [0x1_0000_0000, 0, 1],
  [0x10_8000_0000, -0x8000_0000, 0x10],
  [2 ** 52 - 4096, -0x1000, 0xf_ffff],
])('%d splits into halves', (address, lo, hi) => {
  expect([lowHalf(address), highHalf(address)]).toEqual([lo, hi]);
});

test('halves put together are the address', () => {
  const address = fc.bigInt({ min: 0n, max: 2n ** 52n - 1n });
  fc.assert(
    fc.property(address, (value) => {
      const number = Number(value);
      expect(BigInt(highHalf(number))).toBe(value >> 32n);
      expect(BigInt(lowHalf(number))).toBe(BigInt.asIntN(32, value));
      expect(highHalf(number) * HIGH_WEIGHT + (lowHalf(number) >>> 0)).toBe(number);
    }),
    { seed: 1, numRuns: 200 },
  );
});

test('brands leave the number as it is', () => {
  expect([ipa(0xf_ffff_f000), phys(0xf_ffff_f000)]).toEqual([0xf_ffff_f000, 0xf_ffff_f000]);
});
