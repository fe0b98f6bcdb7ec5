import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Order,
  add32,
  attach,
  cas32,
  cas64,
  count,
  drive,
  fill,
  load64,
  or32,
  signal32,
  signalAdd32,
  store32,
  store64,
  tally,
  write32,
} from '#port';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';

const PAGE = 4096;
const PAGES = 8;
/** The statistics block lies in the last two pages. */
const STATISTICS = 6 * PAGE;

interface Sandbox {
  readonly memory: ExploreMemory;
  readonly bytes: Uint8Array;
}

/** Memory in which no word is zero. */
function sandbox(pages = PAGES): Sandbox {
  const buffer = new ArrayBuffer(pages * PAGE);
  const memory = attach({ memory: { buffer }, seed: 0, statistics: STATISTICS, stop: 0 });
  memory.words.forEach((_, index) => (memory.words[index] = index + 1));
  return { memory, bytes: new Uint8Array(buffer) };
}

/** A write to memory: bytes `at`.. of it change, or may. */
interface Write {
  readonly at: number;
  readonly bytes: number;
  readonly perform: () => void;
}

const word64 = fc.integer({ min: 0, max: STATISTICS / 8 - 1 }).map((index) => index * 8);
const value = fc.integer();
const order = Order.full;

/** Any write at all to one 8-byte unit. */
const small: fc.Arbitrary<Write> = fc
  .tuple(word64, value, fc.constantFrom(0, 4), fc.nat(8))
  .map(([unit, v, half, which]) => {
    const at = unit + half;
    const performs: readonly (() => void)[] = [
      () => drive(store32(at, v, order)),
      () => drive(add32(at, v, order)),
      () => drive(or32(at, v, order)),
      () => drive(signal32(at, v, order)),
      () => drive(signalAdd32(at, v, order)),
      () => write32(at, v),
      () => drive(store64(unit, v, half, order)),
      () => {
        const before = drive(add32(at, 0, order));
        drive(cas32(at, before, v, order));
      },
      () => {
        const lo = drive(load64(unit, order));
        drive(store64(unit, lo, 0, order));
        drive(cas64(unit, lo, 0, v, v, order));
      },
    ];
    return { at: unit, bytes: 8, perform: performs[which] as () => void };
  });

const filled: fc.Arbitrary<Write> = fc
  .tuple(word64, fc.integer({ min: 1, max: 3000 }), fc.nat(255))
  .map(([at, words, v]) => {
    const bytes = Math.min(words * 4, STATISTICS - at);
    return { at, bytes, perform: () => drive(fill(at, bytes, v)) };
  });

const statistic: fc.Arbitrary<Write> = fc
  .tuple(fc.nat({ max: PAGE / 4 - 1 }), fc.boolean())
  .map(([index, isTally]) => {
    const offset = index * 8;
    return {
      at: STATISTICS + offset,
      bytes: 8,
      perform: () => (isTally ? tally(offset) : count(offset, 1.5)),
    };
  });

const writes = fc.array(fc.oneof(small, filled, statistic), { maxLength: 12 });

function pagesOf(all: readonly Write[]): number {
  const pages = new Set<number>();
  for (const { at, bytes } of all) {
    for (let page = Math.floor(at / PAGE); page * PAGE < at + bytes; page++) pages.add(page);
  }
  return pages.size;
}

describe('restore', () => {
  test('undoes any writes, and counts exactly the pages they touched', () => {
    fc.assert(
      fc.property(fc.array(writes, { minLength: 1, maxLength: 3 }), (executions) => {
        const { memory, bytes } = sandbox();
        const original = bytes.slice();
        memory.baseline();
        for (const all of executions) {
          for (const { perform } of all) perform();
          expect(memory.touchedPages).toBe(pagesOf(all));
          memory.restore();
          expect(memory.touchedPages).toBe(0);
          expect(Buffer.compare(bytes, original)).toBe(0);
        }
      }),
      { seed: 2, numRuns: 150 },
    );
  });

  test('comes back to the latest baseline', () => {
    const { memory } = sandbox();
    memory.baseline();
    drive(store32(64, -1, order));
    memory.baseline();
    expect(memory.touchedPages).toBe(0);
    drive(store32(64, -2, order));
    memory.restore();
    expect(memory.words[16]).toBe(-1);
  });

  test('does nothing without a baseline', () => {
    const { memory } = sandbox();
    drive(store32(64, -1, order));
    drive(fill(PAGE, PAGE, 255));
    expect(memory.touchedPages).toBe(0);
    memory.restore();
    expect(memory.words[16]).toBe(-1);
  });
});

describe('a page', () => {
  test.each([
    ['read', () => drive(load64(64, order)), 0],
    ['compared in vain', () => drive(cas32(64, -9, 1, order)), 0],
    ['compared in vain, 64 bits', () => drive(cas64(64, -9, 0, 1, 1, order)), 0],
    ['written twice', () => [write32(0, 1), write32(PAGE - 4, 1)], 1],
    ['filled to its end', () => drive(fill(PAGE, PAGE, 1)), 1],
    ['filled beyond its end', () => drive(fill(PAGE, PAGE + 4, 1)), 2],
  ])('%s', (_what, access, touched) => {
    const { memory } = sandbox();
    memory.baseline();
    access();
    expect(memory.touchedPages).toBe(touched);
  });

  test('may be the last one, and incomplete', () => {
    const buffer = new ArrayBuffer(PAGE + 64);
    const memory = attach({ memory: { buffer }, seed: 0, statistics: 0, stop: 0 });
    memory.baseline();
    drive(store32(PAGE + 60, 7, order));
    expect(memory.touchedPages).toBe(1);
    memory.restore();
    expect(memory.words[(PAGE + 60) / 4]).toBe(0);
  });
});
