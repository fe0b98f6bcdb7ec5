/** Guest programs expanded to accesses: which pages, in which order, how often, and how they depend on vCPU and seed. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { layoutOf } from '../../src/workers/layout.ts';
import { expandProgram, Touch, type Accesses } from '../../src/workers/program.ts';
import type { PatternProgram, Scenario, TraceProgram } from '../../src/workers/scenario.ts';
import { PAGE, RAM, scenarioOf } from '../support/lab.ts';

const FIRST_PAGES = 3;
const SECOND = 0x8000_0000;

/** Two slots; programs use the second, so that its pages start at index 3. */
function twoSlots(pages: number, vcpus: number = 2): Scenario {
  const slots = [
    { base: RAM, bytes: FIRST_PAGES * PAGE, logging: false },
    { base: SECOND, bytes: pages * PAGE, logging: false },
  ];
  return scenarioOf({ slots, vcpus });
}

function patternOf(overrides: Partial<PatternProgram>): PatternProgram {
  return {
    kind: 'pattern',
    pattern: 'sequential',
    slot: 1,
    region: 'shared',
    touches: null,
    writes: 0,
    stride: 1,
    exponent: 1,
    ...overrides,
  };
}

function expand(scenario: Scenario, program: PatternProgram, vcpu = 0, seed = 1): Accesses {
  return expandProgram(scenario, layoutOf(scenario), program, { vcpu, seed });
}

/** Pages within the second slot, in order of access. */
const pagesOf = ({ pages }: Accesses): number[] => Array.from(pages, (page) => page - FIRST_PAGES);
const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

test("sequential: every page in order, from the slot's base, then from the start again", () => {
  const accesses = expand(twoSlots(5), patternOf({ touches: 7 }));
  expect(pagesOf(accesses)).toEqual([0, 1, 2, 3, 4, 0, 1]);
  expect(Array.from(accesses.ipas)).toEqual(pagesOf(accesses).map((page) => SECOND + page * PAGE));
  expect(pagesOf(expand(twoSlots(5), patternOf({})))).toEqual(range(5));
});

test('of a program that is not whole each vCPU makes the accesses that it keeps', () => {
  const program = patternOf({ touches: 7, kept: [[1, 2, 6], null, []] });
  const pages = [0, 1, 2, 3].map((vcpu) => pagesOf(expand(twoSlots(5), program, vcpu)));
  expect(pages).toEqual([[1, 2, 1], [0, 1, 2, 3, 4, 0, 1], [], [0, 1, 2, 3, 4, 0, 1]]);
});

test('strided: every so many pages, each turn one page later', () => {
  const accesses = expand(twoSlots(8), patternOf({ pattern: 'strided', stride: 3 }));
  expect(pagesOf(accesses)).toEqual([0, 3, 6, 1, 4, 7, 2, 5]);
});

test('strided: as many turns as the stride reach every page', () => {
  const shapes = fc.record({
    pages: fc.integer({ min: 1, max: 40 }),
    stride: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(shapes, ({ pages, stride }) => {
      const touches = Math.ceil(pages / stride) * stride;
      const program = patternOf({ pattern: 'strided', stride, touches });
      const seen = new Set(pagesOf(expand(twoSlots(pages), program)));
      expect([...seen].toSorted((a, b) => a - b)).toEqual(range(pages));
    }),
    { seed: 7, numRuns: 200 },
  );
});

test('partitioned: shares are equal, disjoint, and cover what divides evenly', () => {
  const shapes = fc.record({
    vcpus: fc.integer({ min: 1, max: 8 }),
    share: fc.integer({ min: 1, max: 9 }),
    rest: fc.nat(7),
    pattern: fc.constantFrom('sequential' as const, 'strided' as const),
  });
  fc.assert(
    fc.property(shapes, ({ vcpus, share, rest, pattern }) => {
      const scenario = twoSlots(share * vcpus + Math.min(rest, vcpus - 1), vcpus);
      const program = patternOf({ region: 'partitioned', pattern });
      const shares = range(vcpus).map((vcpu) => pagesOf(expand(scenario, program, vcpu)));
      expect(shares.map(({ length }) => length)).toEqual(range(vcpus).map(() => share));
      const all = shares.flat().toSorted((a, b) => a - b);
      expect(all).toEqual(range(share * vcpus));
    }),
    { seed: 11, numRuns: 100 },
  );
});

test('random: inside the region, every page of it, no order', () => {
  const program = patternOf({ pattern: 'random', region: 'partitioned', touches: 400 });
  const pages = pagesOf(expand(twoSlots(20), program, 1));
  expect([...new Set(pages)].toSorted((a, b) => a - b)).toEqual(range(10).map((page) => page + 10));
  expect(pages).not.toEqual(pages.toSorted((a, b) => a - b));
});

test('zipf: the share of a rank falls as its power', () => {
  const touches = 40_000;
  const program = patternOf({ pattern: 'zipf', exponent: 1, touches });
  const counts = Array.from({ length: 16 }, () => 0);
  for (const page of pagesOf(expand(twoSlots(16), program))) counts[page] = (counts[page] ?? 0) + 1;
  // Shares of 1 / rank: their sum over 16 ranks is 3.38.
  const expected = range(16).map((rank) => touches / (rank + 1) / 3.3807);
  counts.forEach((count, rank) => {
    expect(Math.abs(count - (expected[rank] ?? 0))).toBeLessThan(
      5 * Math.sqrt(expected[rank] ?? 0),
    );
  });
  const steep = expand(twoSlots(16), { ...program, exponent: 4 });
  expect(pagesOf(steep).filter((page) => page === 0).length).toBeGreaterThan(0.9 * touches);
});

test.each([
  [0, 0, 0],
  [1, 1000, 1000],
  [0.25, 200, 300],
])('writes: a share of %d', (writes, min, max) => {
  const { kinds } = expand(twoSlots(4), patternOf({ writes, touches: 1000 }));
  const count = kinds.filter((kind) => kind === Touch.write).length;
  expect(count).toBeGreaterThanOrEqual(min);
  expect(count).toBeLessThanOrEqual(max);
  expect(kinds.every((kind) => kind === Touch.write || kind === Touch.read)).toBe(true);
});

test.each(['random', 'zipf'] as const)('%s: equal seeds are equal, others are not', (pattern) => {
  const program = patternOf({ pattern, touches: 50, writes: 0.5 });
  const one = expand(twoSlots(16), program, 1, 5);
  expect(expand(twoSlots(16), program, 1, 5)).toEqual(one);
  expect(expand(twoSlots(16), program, 1, 6)).not.toEqual(one);
  expect(expand(twoSlots(16), program, 0, 5)).not.toEqual(one);
});

test('a slot that does not exist is our bug, and said so', () => {
  expect(() => expand(twoSlots(4), patternOf({ slot: 2 }))).toThrow('no slot 2');
});

const TRACE: TraceProgram = {
  kind: 'trace',
  pages: Uint32Array.of(RAM / PAGE, RAM / PAGE + 2, RAM / PAGE),
  kinds: Uint8Array.of(Touch.exec, Touch.write, Touch.read),
  vcpuPages: (SECOND - RAM) / PAGE,
};

test('a trace: the same accesses for each vCPU, shifted', () => {
  const scenario = twoSlots(4);
  const of = (vcpu: number): Accesses =>
    expandProgram(scenario, layoutOf(scenario), TRACE, { vcpu, seed: 1 });
  expect(of(0)).toEqual({
    ipas: Float64Array.of(RAM, RAM + 2 * PAGE, RAM),
    pages: Uint32Array.of(0, 2, 0),
    kinds: TRACE.kinds,
  });
  expect(of(1)).toEqual({
    ipas: Float64Array.of(SECOND, SECOND + 2 * PAGE, SECOND),
    pages: Uint32Array.of(3, 5, 3),
    kinds: TRACE.kinds,
  });
});

test('a trace on larger pages: the page that an address is in, several of the trace in one', () => {
  const machine = { ...PLAIN_4K, pageShift: 14 };
  const pageBytes = 4 * PAGE;
  const slots = [
    { base: RAM, bytes: 2 * pageBytes, logging: false },
    { base: SECOND, bytes: 2 * pageBytes, logging: false },
  ];
  const scenario = scenarioOf({ machine, slots });
  const trace = {
    ...TRACE,
    pages: Uint32Array.of(RAM / PAGE, RAM / PAGE + 3, RAM / PAGE + 4),
  };
  expect(expandProgram(scenario, layoutOf(scenario), trace, { vcpu: 1, seed: 1 })).toEqual({
    ipas: Float64Array.of(SECOND, SECOND, SECOND + pageBytes),
    pages: Uint32Array.of(2, 2, 3),
    kinds: TRACE.kinds,
  });
});

test('a pattern goes by pages of the granule', () => {
  const machine = { ...PLAIN_4K, pageShift: 16 };
  const slots = [{ base: RAM, bytes: 3 * 65536, logging: false }];
  const accesses = expand(scenarioOf({ machine, slots }), patternOf({ slot: 0 }));
  expect(Array.from(accesses.ipas)).toEqual([RAM, RAM + 65536, RAM + 2 * 65536]);
  expect(Array.from(accesses.pages)).toEqual([0, 1, 2]);
});

test('a trace that leaves the slots is our bug, and said so', () => {
  const scenario = twoSlots(2);
  const expanding = () => expandProgram(scenario, layoutOf(scenario), TRACE, { vcpu: 1, seed: 1 });
  expect(expanding).toThrow(`guest frame ${SECOND / PAGE + 2}, outside every slot`);
});
