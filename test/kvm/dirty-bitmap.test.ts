/** Words of a dirty bitmap (specification 5J): bits taken and set at the same time, and the span of a word. */
import { drive } from '#port';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RandomScheduler } from '../../src/explore/random.ts';
import {
  dirtyBitmapBytes,
  DirtyBitmap,
  isClean,
  span,
  type DirtyWord,
} from '../../src/kvm/dirty-bitmap.ts';
import { execute, sandbox } from '../support/executions.ts';

const AT = 4096;
const EVERYTHING = { lo: -1, hi: -1 };

function bits({ lo, hi }: DirtyWord): bigint {
  return BigInt.asUintN(32, BigInt(lo)) | (BigInt.asUintN(32, BigInt(hi)) << 32n);
}

test.each([
  [1, 16],
  [64, 16],
  [65, 32],
  [129, 48],
])('a bitmap for %i pages has %i bytes, both halves', (pages, bytes) => {
  expect(dirtyBitmapBytes(pages)).toBe(bytes);
});

test('the span of a word runs from its lowest to its highest bit', () => {
  const words = fc.tuple(fc.bigInt(1n, 2n ** 64n - 1n), fc.nat(63), fc.nat(63));
  fc.assert(
    fc.property(words, ([all, low, high]) => {
      for (const word of [all, 1n << BigInt(low), (1n << BigInt(low)) | (1n << BigInt(high))]) {
        const digits = word.toString(2);
        const expected = {
          first: digits.length - 1 - digits.lastIndexOf('1'),
          last: digits.length - 1,
        };
        const halves = { lo: Number(BigInt.asIntN(32, word)), hi: Number(word >> 32n) | 0 };
        expect(span(halves)).toEqual(expected);
      }
    }),
    { seed: 54, numRuns: 300 },
  );
});

test('a full bitmap has the bits of its pages and no others, and an empty scratch half', () => {
  sandbox();
  const bitmap = new DirtyBitmap(AT, 70);
  bitmap.writeScratch(0, EVERYTHING);
  drive(bitmap.reset(true));
  expect([0, 1].map((word) => bits(drive(bitmap.load(word))))).toEqual([2n ** 64n - 1n, 63n]);
  expect([0, 1].every((word) => isClean(bitmap.readScratch(word)))).toBe(true);
  drive(bitmap.reset(false));
  expect(isClean(drive(bitmap.load(0))) && isClean(drive(bitmap.load(1)))).toBe(true);
});

test('only the bits of the mask are taken', () => {
  sandbox();
  const bitmap = new DirtyBitmap(AT, 128);
  for (const page of [64, 65, 96, 127]) drive(bitmap.mark(page));
  const mask = { lo: 2 | 4, hi: 1 };
  expect(drive(bitmap.fetchAndClear(1, mask))).toEqual({ lo: 2, hi: 1 });
  expect(bits(drive(bitmap.load(1)))).toBe((1n << 63n) | 1n);
  expect(isClean(drive(bitmap.fetchAndClear(1, mask)))).toBe(true);
  expect(isClean(drive(bitmap.load(0)))).toBe(true);
});

test('a bit that is set while words are taken is taken or stays, and is never taken twice: 2,000 schedules', () => {
  const memory = sandbox();
  memory.baseline();
  let taken = 0;
  for (let seed = 0; seed < 2000; seed++) {
    memory.restore();
    const found: bigint[] = [];
    const mark = (pages: readonly number[]) =>
      function* start() {
        for (const page of pages) yield* new DirtyBitmap(AT, 64).mark(page);
      };
    const agents = [
      mark([0, 5, 40]),
      mark([1, 33, 63]),
      function* take() {
        const bitmap = new DirtyBitmap(AT, 64);
        for (let i = 0; i < 3; i++) found.push(bits(yield* bitmap.fetchAndClear(0, EVERYTHING)));
      },
    ];
    execute({ agents, scheduler: new RandomScheduler(seed) });
    const left = bits(drive(new DirtyBitmap(AT, 64).load(0)));
    const marked = [0, 5, 40, 1, 33, 63].reduce((sum, page) => sum + (1n << BigInt(page)), 0n);
    // A sum, not a union: a bit that came twice would carry.
    expect([seed, found.reduce((sum, word) => sum + word, left)]).toEqual([seed, marked]);
    taken += found.filter((word) => word !== 0n).length;
  }
  expect(taken).toBeGreaterThan(1000);
});
