/** The lines of the specification's worked traces (appendix B) that say what the replaced code does. */
import { expect, test } from 'vitest';
import type { Phys } from '../../../src/machine/address.ts';
import { M2 } from '../helpers.ts';
import { LegacyTable } from './legacy-table.ts';

const IPA = 0x4020_0000;

test('B3: a block over a page is an unmap, up to the root, and two descents', () => {
  const table = new LegacyTable();
  // B1.
  expect(table.fault({ ipa: IPA })).toBe('ok');
  expect([table.cache.taken, table.inUse(), table.logged()]).toEqual([2, 4, []]);
  table.ops.onFlush = () => ` with ${table.inUse()} pages`;
  expect(table.fault({ ipa: IPA, size: M2, frame: 0x8000_0000 as Phys })).toBe('ok');
  const brackets = table.ops.log.filter((line) => line === 'begin');
  expect(brackets).toHaveLength(3);
  // The page, T3, and T2, which is empty then; T2 is allocated again.
  expect(table.logged()).toEqual([
    'tlbi 40200000 hint 3 with 4 pages',
    'clean 80000000 1000',
    'tlbi 40200000 hint 0 with 4 pages',
    'tlbi 40200000 hint 0 with 3 pages',
  ]);
  expect([table.cache.taken, table.inUse()]).toEqual([3, 3]);
  expect(table.words()).toEqual(['2 40200000 -> 80000000 rw-']);
});
