import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SipHash } from '../../src/pgtable/siphash.ts';

const KEY = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c] as const;

/** The bytes `at`, `at` + 1, ... as a little-endian word. */
const wordAt = (at: number): number => at | ((at + 1) << 8) | ((at + 2) << 16) | ((at + 3) << 24);

/** Digest of the bytes 0, 1, ... `length` - 1, as 16 digits. */
function digestOf(length: number, key: readonly [number, number, number, number] = KEY): string {
  const hash = new SipHash(key);
  let at = 0;
  for (; at + 8 <= length; at += 8) hash.update(wordAt(at), wordAt(at + 4));
  const rest = Array.from({ length: length - at }, (_, i) => at + i);
  const [lo, hi] = hash.finish(rest);
  return [hi, lo].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}

/** Published with the paper: key 00 to 0f, by number of bytes; each length of a last word, and whole words. */
test.each([
  [0, '726fdb47dd0e0e31'],
  [1, '74f839c593dc67fd'],
  [2, '0d6c8009d9a94f5a'],
  [3, '85676696d7fb7e2d'],
  [4, 'cf2794e0277187b7'],
  [5, '18765564cd99a68d'],
  [6, 'cbc9466e58fee3ce'],
  [7, 'ab0200f58b01d137'],
  [8, '93f5f5799a932462'],
  [9, '9e0082df0ba9e4b0'],
  [15, 'a129ca6149be45e5'],
  [16, '3f2acc7f57c29bdb'],
  [24, 'b8ad50c6f649af94'],
  [31, '32d892fad841c342'],
  [32, '7127512f72f27cce'],
  [48, 'e612a3cb9ecba951'],
  [63, '958a324ceb064572'],
])('%d bytes give the published digest', (length, digest) => {
  expect(digestOf(length)).toBe(digest);
});

test('hex is the digest of the words so far, high digits first', () => {
  const hash = new SipHash(KEY);
  hash.update(0x03020100, 0x07060504);
  hash.update(0x0b0a0908, 0x0f0e0d0c);
  expect(hash.hex()).toBe('3f2acc7f57c29bdb');
  expect(new SipHash(KEY).hex()).toBe('726fdb47dd0e0e31');
});

test.each([0, 1, 2, 3])('word %d of the key matters', (index) => {
  const key = KEY.map((part, i) => (i === index ? part ^ 1 : part));
  expect(digestOf(16, key as [number, number, number, number])).not.toBe(digestOf(16));
});

const MASK = (1n << 64n) - 1n;
const rotated = (x: bigint, bits: bigint): bigint => ((x << bits) | (x >> (64n - bits))) & MASK;

/** The paper's algorithm on 64-bit integers, over whole words. */
function reference(k0: bigint, k1: bigint, words: readonly bigint[]): bigint {
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const rounds = (count: number): void => {
    for (let i = 0; i < count; i++) {
      v0 = (v0 + v1) & MASK;
      v2 = (v2 + v3) & MASK;
      v1 = rotated(v1, 13n) ^ v0;
      v3 = rotated(v3, 16n) ^ v2;
      v0 = rotated(v0, 32n);
      v2 = (v2 + v1) & MASK;
      v0 = (v0 + v3) & MASK;
      v1 = rotated(v1, 17n) ^ v2;
      v3 = rotated(v3, 21n) ^ v0;
      v2 = rotated(v2, 32n);
    }
  };
  for (const word of [...words, BigInt(words.length * 8) << 56n]) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
  v2 ^= 0xffn;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}

const halves = (value: bigint): [number, number] => [
  Number(BigInt.asIntN(32, value)),
  Number(BigInt.asIntN(32, value >> 32n)),
];

/** `hex` of the words under a key, and what the reference gives. */
function bothHexes(k0: bigint, k1: bigint, words: readonly bigint[]): [string, string] {
  const hash = new SipHash([...halves(k0), ...halves(k1)]);
  for (const word of words) hash.update(...halves(word));
  return [hash.hex(), reference(k0, k1, words).toString(16).padStart(16, '0')];
}

test('any words under any key give the digest of 64-bit arithmetic, in sixteen digits', () => {
  const word = fc.bigInt({ min: 0n, max: MASK });
  fc.assert(
    fc.property(word, word, fc.array(word, { maxLength: 5 }), (k0, k1, words) => {
      const [hex, expected] = bothHexes(k0, k1, words);
      expect(hex).toBe(expected);
    }),
    { seed: 24, numRuns: 200 },
  );
});

test('a sum of low halves that is just below the carry carries nothing', () => {
  // The first addition of the first round is v0 + v1: low halves 0 and all ones.
  const [hex, expected] = bothHexes(0x70736575n, 0x6e646f6dn ^ 0xffffffffn, [0n]);
  expect(hex).toBe(expected);
});
