import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { stage2IsYoung, stage2Mkold, stage2Mkyoung } from '../../src/pgtable/stage2-attributes.ts';
import { G1, M2, PAGE, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;
const AF = 1n << 10n;

const isYoung = (table: TestTable, ipa: number): boolean => drive(stage2IsYoung(table.pgt, ipa));

describe.each([
  ['a page', PAGE, AT, 3],
  ['a block of 2M', M2, AT, 2],
  ['a block of 1G', G1, G1, 1],
] as const)('ageing %s', (_what, size, ipa, level) => {
  const mapped = (): TestTable => {
    const table = new TestTable();
    table.map(ipa, size, G1 * 2);
    table.logged();
    return table;
  };

  test('clears and sets the access flag in one walk each, without TLBI', () => {
    const table = mapped();
    const before = table.lookup(ipa);
    expect(before.level).toBe(level);
    table.ops.log.length = 0;
    expect(drive(stage2Mkold(table.pgt, ipa)).toBigInt()).toBe(before.value);
    expect(table.ops.log).toEqual(['begin', 'end']);
    expect(table.lookup(ipa)).toEqual({ level, value: before.value & ~AF });
    table.ops.log.length = 0;
    expect(drive(stage2Mkyoung(table.pgt, ipa)).toBigInt()).toBe(before.value & ~AF);
    expect(table.ops.log).toEqual(['begin', 'end', 'publish']);
    expect(table.lookup(ipa)).toEqual(before);
    table.checkPages();
  });

  test('tells the age and changes nothing', () => {
    const table = mapped();
    expect(isYoung(table, ipa + size - 1)).toBe(true);
    drive(stage2Mkold(table.pgt, ipa + size - 1));
    const old = table.contents().leaves;
    table.ops.log.length = 0;
    expect(table.storesOf(() => stage2IsYoung(table.pgt, ipa))).toEqual([]);
    expect(isYoung(table, ipa)).toBe(false);
    expect(table.ops.log).toEqual(['begin', 'end', 'begin', 'end']);
    expect(table.contents().leaves).toEqual(old);
  });
});

describe('ageing', () => {
  test('one leaf leaves its neighbours young', () => {
    const table = new TestTable();
    table.map(AT, 3 * PAGE, PA);
    drive(stage2Mkold(table.pgt, AT + PAGE));
    expect([AT, AT + PAGE, AT + 2 * PAGE].map((ipa) => isYoung(table, ipa))).toEqual([
      true,
      false,
      true,
    ]);
  });

  test('an old leaf stores nothing', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    expect(table.storesOf(() => stage2Mkold(table.pgt, AT))).toHaveLength(1);
    expect(table.storesOf(() => stage2Mkold(table.pgt, AT))).toEqual([]);
  });

  test('without a leaf gives an empty entry, which is not young', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    table.unmap(AT, PAGE);
    expect(drive(stage2Mkold(table.pgt, AT)).toBigInt()).toBe(0n);
    expect(isYoung(table, AT)).toBe(false);
    expect(isYoung(table, G1 * 3)).toBe(false);
  });
});
