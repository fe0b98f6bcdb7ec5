import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { stage2Flush } from '../../src/pgtable/stage2-flush.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { M2, PAGE, RO, RW, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;

const flushed = (table: TestTable, ipa: number, size: number): string[] => {
  table.logged();
  expect(drive(stage2Flush(table.pgt, ipa, size))).toBe('ok');
  return table.logged();
};

describe('flushing a range', () => {
  test('cleans each cacheable leaf in it, and no device', () => {
    const table = new TestTable();
    table.map(AT - PAGE, PAGE, PA, RO);
    table.map(AT, M2, PA + M2);
    table.map(AT + M2, PAGE, 0x900_0000, RW | Prot.device);
    table.map(AT + M2 + PAGE, PAGE, PA + PAGE);
    expect(flushed(table, AT - PAGE, M2 + 3 * PAGE)).toEqual([
      'clean 80000000 1000',
      'clean 80200000 200000',
      'clean 80001000 1000',
    ]);
  });

  test('cleans all of a leaf that it covers in part, and nothing beside it', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    table.map(AT + M2, PAGE, PA + M2);
    expect(flushed(table, AT + 7 * PAGE, PAGE)).toEqual(['clean 80000000 200000']);
  });

  test('does not even walk on a machine that forces Write-Back', () => {
    const table = new TestTable({ features: { fwb: true } });
    table.map(AT, PAGE, PA);
    table.ops.log.length = 0;
    expect(drive(stage2Flush(table.pgt, AT, PAGE))).toBe('ok');
    expect(table.ops.log).toEqual([]);
    // Nor is an unmapped page cleaned there.
    table.unmap(AT, PAGE);
    expect(table.logged().filter((line) => line.startsWith('clean'))).toEqual([]);
  });

  test('passes over what is not mapped, and changes no entry', () => {
    const table = new TestTable();
    table.map(AT, 2 * PAGE, PA);
    table.unmap(AT, PAGE);
    expect(table.storesOf(() => stage2Flush(table.pgt, AT, M2))).toEqual([]);
    expect(flushed(table, AT, PAGE)).toEqual([]);
  });

  test('beyond the input size is refused', () => {
    const table = new TestTable();
    expect(drive(stage2Flush(table.pgt, 2 ** 40 - PAGE, 2 * PAGE))).toBe('outOfRange');
  });
});
