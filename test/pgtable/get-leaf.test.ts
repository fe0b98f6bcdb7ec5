import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import { NO_PGD } from '../../src/pgtable/pgtable.ts';
import { G1, M2, PAGE, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;

const found = (table: TestTable, address: number): unknown => {
  const leaf = drive(getLeaf(table.pgt, address));
  return typeof leaf === 'string' ? leaf : { level: leaf.level, value: leaf.entry.toBigInt() };
};

test('gives the leaf of any size that an address ends at', () => {
  const table = new TestTable();
  table.map(AT, M2 + PAGE, PA);
  table.map(2 * G1, G1, 4 * G1);
  for (const address of [AT, AT + M2 - 1, AT + M2 + 5, 2 * G1 + 12345]) {
    expect(found(table, address)).toEqual(table.lookup(address));
  }
  expect(found(table, AT)).toMatchObject({ level: 2 });
  expect(found(table, AT + M2)).toMatchObject({ level: 3 });
  expect(found(table, 3 * G1 - 1)).toMatchObject({ level: 1 });
});

test('gives the invalid entry where there is no leaf, stale ones as they stand', () => {
  const table = new TestTable();
  table.map(AT, 2 * PAGE, PA);
  table.unmap(AT, PAGE);
  expect(found(table, 5 * G1)).toEqual({ level: 1, value: 0n });
  const stale = table.lookup(AT);
  expect(stale.value).not.toBe(0n);
  expect(found(table, AT)).toEqual(stale);
});

test('says why there was no walk', () => {
  const table = new TestTable();
  expect(found(table, 2 ** 40)).toBe('outOfRange');
  expect(drive(getLeaf({ ...table.pgt, pgd: NO_PGD }, AT))).toBe('invalid');
});
