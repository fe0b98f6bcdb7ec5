import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  COMPARE_AND_SWAP,
  DC_CLEAN,
  DC_ZVA,
  FETCH,
  load,
  store,
} from '../../src/machine/instruction.ts';
import {
  PAGE,
  S1_AF,
  S1_DBM,
  S1_PAGE,
  S1_PXN,
  S1_RO,
  S2_AF,
  S2_PAGE,
  S2_W,
  S2_XN,
  TwoStage,
  pageOf,
} from '../support/two-stage.ts';
import { expected, told } from './two-stage-model.ts';

const LOAD = load(8, 3);
const STORE = store(8, 3);
const leaf = (n: number, bits: bigint): bigint => BigInt(pageOf(n)) | bits;
const PAGES = 8;
/** Of entries, tables and VAs: few, so that things meet. */
const index = fc.integer({ min: 0, max: 2 });
const page = fc.integer({ min: 0, max: PAGES - 1 });
const flags = fc
  .array(fc.constantFrom(S1_RO, S1_DBM, S1_PXN, S1_AF), { maxLength: 3 })
  .map((list) => list.reduce((bits, bit) => bits ^ bit, S1_PAGE));
const entry = fc.record({
  table: page,
  index,
  value: fc.oneof(
    { weight: 1, arbitrary: fc.constant(0n) },
    { weight: 4, arbitrary: page.map((n) => leaf(n, 3n)) },
    { weight: 3, arbitrary: fc.tuple(page, flags).map(([n, bits]) => leaf(n, bits)) },
    { weight: 1, arbitrary: flags.map((bits) => leaf(0, bits & ~2n)) },
  ),
});
const stage2 = fc.array(
  fc.constantFrom(S2_PAGE, S2_PAGE, S2_PAGE & ~S2_XN, S2_PAGE & ~S2_W, S2_PAGE & ~S2_AF, 0n),
  { minLength: PAGES, maxLength: PAGES },
);
const access = fc.record({
  va: fc.tuple(index, index, index).map(([a, b, c]) => a * 2 ** 30 + b * 2 ** 21 + c * PAGE + 8),
  instruction: fc.constantFrom(LOAD, STORE, FETCH, COMPARE_AND_SWAP, DC_CLEAN, DC_ZVA),
});

test('tells the same of every access, and leaves the same descriptors', () => {
  fc.assert(
    fc.property(
      fc.array(entry, { minLength: 3, maxLength: 16 }),
      stage2,
      fc.array(access, { minLength: 1, maxLength: 10 }),
      fc.boolean(),
      fc.boolean(),
      (entries, bits, accesses, ha, hd) => {
        const two = new TwoStage(PAGES, { setsAccessFlag: ha, setsDirty: hd });
        const world = { stage2: bits, memory: new Map<string, bigint>(), ha, hd };
        bits.forEach((value, n) => two.map(n, value));
        for (const { table, index: i, value } of entries) {
          two.setDescriptor(table, i, value);
          world.memory.set(`${table} ${i}`, value);
        }
        for (const { va, instruction } of accesses)
          expect(told(two.access(va, instruction))).toBe(expected(world, va, instruction));
        for (const [key, value] of world.memory) {
          const [table, i] = key.split(' ').map(Number) as [number, number];
          expect(two.descriptor(table, i)).toBe(value);
        }
      },
    ),
    { numRuns: 300 },
  );
});
