import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { NO_PGD } from '../../src/pgtable/pgtable.ts';
import {
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2Wrprotect,
} from '../../src/pgtable/stage2-attributes.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { M2, PAGE, RO, RW, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;
const AF = 1n << 10n;

const protect = (table: TestTable, ipa: number, size: number): string =>
  drive(stage2Wrprotect(table.pgt, ipa, size));

describe('write-protection', () => {
  test('takes W from every leaf of the range, and nothing else', () => {
    const table = new TestTable();
    table.map(AT - 2 * PAGE, 2 * PAGE + M2 + 2 * PAGE, PA - 2 * PAGE);
    table.map(AT - 3 * PAGE, PAGE, PA, RW | Prot.x);
    const before = table.contents().leaves.map(({ value }) => value);
    table.logged();
    expect(protect(table, AT - 3 * PAGE, 3 * PAGE + M2 + PAGE)).toBe('ok');
    // The flush is the caller's.
    expect(table.logged()).toEqual([]);
    const after = table.contents().leaves.map(({ value }) => value);
    expect(after).toEqual(before.map((value, i) => (i < 5 ? value & ~0x80n : value)));
    expect(table.leaves()).toEqual([
      '3 401fd000 -> 80000000 r-x',
      '3 401fe000 -> 7fffe000 r--',
      '3 401ff000 -> 7ffff000 r--',
      '2 40200000 -> 80000000 r--',
      '3 40400000 -> 80200000 r--',
      '3 40401000 -> 80201000 rw-',
    ]);
    table.checkPages();
  });

  test('protects a block of which the range is a part', () => {
    const table = new TestTable();
    table.map(AT, M2, PA);
    protect(table, AT + 5 * PAGE, PAGE);
    expect(table.leaves()).toEqual(['2 40200000 -> 80000000 r--']);
  });

  test('stores only what changes', () => {
    const table = new TestTable();
    table.map(AT, 4 * PAGE, PA);
    const op = () => stage2Wrprotect(table.pgt, AT, 4 * PAGE);
    expect(table.storesOf(op)).toHaveLength(4);
    expect(table.storesOf(op)).toEqual([]);
  });

  test('leaves entries that are not valid', () => {
    const table = new TestTable();
    table.map(AT, 2 * PAGE, PA);
    table.unmap(AT, PAGE);
    const stale = table.lookup(AT).value;
    expect(protect(table, AT - M2, 3 * M2)).toBe('ok');
    expect(table.lookup(AT).value).toBe(stale);
    expect(table.lookup(AT + M2).value).toBe(0n);
    table.checkPages();
  });

  test('is refused beyond the input size', () => {
    const table = new TestTable();
    expect(protect(table, 2 ** 40, PAGE)).toBe('outOfRange');
  });
});

const relax = (table: TestTable, ipa: number, prot: number): string =>
  drive(stage2RelaxPerms(table.pgt, ipa, prot));

describe('relaxing permissions', () => {
  test('on a machine with XNX gives execution to EL0 and EL1, and to neither alone', () => {
    const table = new TestTable({ features: { xnx: true } });
    table.map(AT, PAGE, PA, Prot.r | Prot.px);
    expect(drive(stage2RelaxPerms(table.pgt, AT, Prot.r | Prot.ux))).toBe('invalid');
    expect(table.lookup(AT).value).toBe(0x0060_0000_8000_077fn);
    expect(drive(stage2RelaxPerms(table.pgt, AT, Prot.r | Prot.x))).toBe('ok');
    expect(table.lookup(AT).value).toBe(0x0000_0000_8000_077fn);
  });

  test.each([
    ['W', RW, 'rw-'],
    ['R that it has', RO, 'r--'],
    ['X', Prot.x, 'r-x'],
    ['nothing', 0, 'r--'],
    ['all', RW | Prot.x, 'rwx'],
  ])('adds %s to a page, takes nothing, and hints its level', (_what, prot, allowed) => {
    const table = new TestTable();
    table.map(AT, PAGE, PA, RO);
    table.logged();
    expect(relax(table, AT + 0x123, prot)).toBe('ok');
    expect(table.leaves()).toEqual([`3 40200000 -> 80000000 ${allowed}`]);
    expect(table.logged()).toEqual(['tlbi 40200123 hint 3']);
    expect(table.counts(AT)).toEqual([2, 2, 2]);
  });

  test('never takes a permission away', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA, RW | Prot.x);
    for (const prot of [0, RO, Prot.w, Prot.x]) relax(table, AT, prot);
    expect(table.leaves()).toEqual(['3 40200000 -> 80000000 rwx']);
  });

  test('changes one leaf, of any size', () => {
    const table = new TestTable();
    table.map(AT, M2 + 2 * PAGE, PA, RO);
    table.logged();
    relax(table, AT + 7 * PAGE, RW);
    expect(table.logged()).toEqual(['tlbi 40207000 hint 2']);
    relax(table, AT + M2, RW);
    expect(table.leaves()).toEqual([
      '2 40200000 -> 80000000 rw-',
      '3 40400000 -> 80200000 rw-',
      '3 40401000 -> 80201000 r--',
    ]);
  });

  test('is stored before its TLBI, in one store, and not at all if nothing changes', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA, RO);
    table.logged();
    table.ops.onFlush = () => `, ${table.leaves()[0]}`;
    const op = () => stage2RelaxPerms(table.pgt, AT, RW);
    expect(table.storesOf(op)).toHaveLength(1);
    expect(table.storesOf(op)).toEqual([]);
    expect(table.logged()).toEqual(
      Array(2).fill('tlbi 40200000 hint 3, 3 40200000 -> 80000000 rw-'),
    );
  });

  test('leaves the access flag as it is', () => {
    const table = new TestTable();
    table.plant(AT, 3, 0x0040_0000_8000_037fn);
    relax(table, AT, RW);
    expect(table.lookup(AT).value).toBe(0x0040_0000_8000_03ffn);
  });

  test.each(['no table', 'a stale entry'])('finds no leaf: %s; flushes without a hint', (what) => {
    const table = new TestTable();
    if (what === 'a stale entry') {
      table.map(AT, 2 * PAGE, PA);
      table.unmap(AT, PAGE);
    }
    const before = table.lookup(AT);
    table.logged();
    expect(relax(table, AT, RW)).toBe('ok');
    expect(table.logged()).toEqual(['tlbi 40200000 hint 0']);
    expect(table.lookup(AT)).toEqual(before);
  });

  test('that fails flushes nothing', () => {
    const table = new TestTable();
    expect(relax(table, 2 ** 40, RW)).toBe('outOfRange');
    expect(drive(stage2RelaxPerms({ ...table.pgt, pgd: NO_PGD }, AT, RW))).toBe('invalid');
    expect(table.ops.log).toEqual([]);
  });
});

describe('making young', () => {
  test.each([
    ['page', 3, 0x0040_0000_8000_03ffn],
    ['block', 2, 0x0040_0000_8000_03fdn],
  ] as const)('sets the access flag of a %s and gives the leaf as it was', (_what, level, old) => {
    const table = new TestTable();
    table.plant(AT, level, old);
    table.plant(AT + M2, 3, old | 2n);
    expect(drive(stage2Mkyoung(table.pgt, AT + 0x123)).toBigInt()).toBe(old);
    expect(table.lookup(AT).value).toBe(old | AF);
    // No TLBI: a leaf without the flag was never cached.
    expect(table.logged()).toEqual(['publish']);
    expect(table.lookup(AT + M2).value).toBe(old | 2n);
  });

  test('of a young leaf stores nothing', () => {
    const table = new TestTable();
    table.map(AT, PAGE, PA);
    expect(table.storesOf(() => stage2Mkyoung(table.pgt, AT))).toEqual([]);
    expect(drive(stage2Mkyoung(table.pgt, AT)).isYoung()).toBe(true);
  });

  test('without a leaf gives an empty entry', () => {
    const table = new TestTable();
    expect(drive(stage2Mkyoung(table.pgt, AT)).toBigInt()).toBe(0n);
    table.map(AT, 2 * PAGE, PA);
    table.unmap(AT, PAGE);
    table.logged();
    const stale = table.lookup(AT).value;
    expect(drive(stage2Mkyoung(table.pgt, AT)).toBigInt()).toBe(0n);
    expect(table.lookup(AT).value).toBe(stale);
    expect(table.logged()).toEqual(['publish']);
  });
});
