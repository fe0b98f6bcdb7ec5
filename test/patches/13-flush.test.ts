/** Patch 13: cache maintenance over a range of a table. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { stage2Flush } from '../../src/pgtable/stage2-flush.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { M2, PAGE, RO, RW, TestTable } from '../pgtable/helpers.ts';

const BYTES = [0, 0x4000_0000, M2, PAGE] as const;
const NORMAL_WB = 0xfn;

/** Pages around the first border of two blocks. */
const MAPPING = fc.record({
  page: fc.integer({ min: -8, max: 8 }),
  size: fc.constantFrom(PAGE, 3 * PAGE, M2, M2 + 2 * PAGE),
  prot: fc.constantFrom(RO, RW, RW | Prot.device),
});
const RANGE = fc.record({
  page: fc.integer({ min: -16, max: 16 }),
  size: fc.constantFrom(0, PAGE, 8 * PAGE, 2 * M2),
});

/** What has to be cleaned, by the test's own reading of the table. */
function cacheableLeaves(table: TestTable, ipa: number, size: number): string[] {
  return table.contents().leaves.flatMap(({ addr, level, value }) => {
    const bytes = BYTES[level] as number;
    if (addr + bytes <= ipa || addr >= ipa + size || ((value >> 2n) & 0xfn) !== NORMAL_WB)
      return [];
    return [`clean ${(value & 0xffff_ffff_f000n).toString(16)} ${bytes.toString(16)}`];
  });
}

test('what is cleaned is the set of cacheable leaves that the range meets, each whole; devices are skipped', () => {
  const seen = { cleaned: 0, devices: 0 };
  fc.assert(
    fc.property(fc.array(MAPPING, { minLength: 1, maxLength: 6 }), RANGE, (mappings, range) => {
      const table = new TestTable();
      for (const { page, size, prot } of mappings) {
        const ipa = 2 * M2 + page * PAGE;
        expect(table.map(ipa, size, 0x8000_0000 + ipa, prot)).toBe('ok');
      }
      const before = table.contents();
      const ipa = 2 * M2 + range.page * PAGE;
      const expected = cacheableLeaves(table, ipa, range.size);
      table.ops.log.length = 0;
      expect(drive(stage2Flush(table.pgt, ipa, range.size))).toBe('ok');
      // One walk, no TLBI, nothing changed.
      expect(table.ops.log).toEqual(['begin', ...expected, 'end']);
      expect(table.contents()).toEqual(before);
      seen.cleaned += expected.length;
      seen.devices += before.leaves.filter(({ value }) => (value & 0x3cn) === 4n).length;
    }),
    { seed: 13, numRuns: 60 },
  );
  expect(Math.min(seen.cleaned, seen.devices)).toBeGreaterThan(60);
});

test('a page of a block has all of the block cleaned, a device nothing', () => {
  const table = new TestTable();
  table.map(M2, M2, 0x8000_0000);
  table.map(2 * M2, M2, 0x1000_0000, RW | Prot.device);
  table.logged();
  drive(stage2Flush(table.pgt, 2 * M2 - PAGE, 2 * PAGE));
  expect(table.logged()).toEqual(['clean 80000000 200000']);
});
