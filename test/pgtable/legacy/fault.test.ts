/** The legacy decision on a fault (specification section 5O). */
import { describe, expect, test } from 'vitest';
import type { Phys } from '../../../src/machine/address.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW } from '../helpers.ts';
import { LegacyTable, type LegacyOptions } from './legacy-table.ts';

const IPA = 0x4020_0000;
const HOST = 0x8000_0000 as Phys;
const RX = Prot.r | Prot.x;

function mapped(prot: number, options: LegacyOptions = {}): LegacyTable {
  const table = new LegacyTable(options);
  table.setPte(IPA, HOST, prot);
  table.walks();
  return table;
}

describe('a new leaf', () => {
  test.each([
    ['a read of what may be written', {}, '00400000800007ff'],
    ['a read of what may not', { isWritable: false }, '004000008000077f'],
    ['an execution', { isExec: true }, '00000000800007ff'],
    ['a device', { isDevice: true }, '00400000800007c7'],
  ])('of %s', (_, fault, hex) => {
    const table = new LegacyTable();
    expect(table.fault({ ipa: IPA, ...fault })).toBe('ok');
    const [leaf] = table.leaves();
    expect(leaf?.value.toString(16).padStart(16, '0')).toBe(hex);
  });

  test.each([
    ['4K', 1, 12, G1],
    ['4K', 2, 12, M2],
    ['16K', 2, 14, 16 * M2],
    ['64K', 2, 16, 256 * M2],
  ])(
    'of %s: a block of level %d for its size, around any address in it',
    (_, level, shift, size) => {
      const table = new LegacyTable({ shift, ipaBits: 48 });
      const frame = (4 * size) as Phys;
      expect(table.fault({ ipa: 2 * size + table.page, size, frame })).toBe('ok');
      expect(table.words()).toEqual([
        `${level} ${(2 * size).toString(16)} -> ${frame.toString(16)} rw-`,
      ]);
    },
  );

  test('is refused for executable device memory, and for a size without leaves', () => {
    const table = new LegacyTable({ ipaBits: 32 });
    expect(table.fault({ isExec: true, isDevice: true })).toBe('invalid');
    // Two levels: the largest block is one of 2 MiB.
    expect(table.fault({ size: G1 })).toBe('invalid');
    expect(table.fault({ size: 2 * PAGE })).toBe('invalid');
    expect(table.leaves()).toEqual([]);
  });
});

describe('permission to execute', () => {
  test('is kept on a write permission fault, which takes two walks', () => {
    const table = mapped(RX);
    expect(table.fault({ ipa: IPA, isPermission: true })).toBe('ok');
    expect(table.walks()).toBe(2);
    expect(table.words()).toEqual([`3 ${IPA.toString(16)} -> 80000000 rwx`]);
  });

  test('is not looked for on other faults: one walk', () => {
    const table = mapped(RX);
    table.fault({ ipa: IPA });
    expect(table.walks()).toBe(1);
    expect(table.words()).toEqual([`3 ${IPA.toString(16)} -> 80000000 rw-`]);
    table.fault({ ipa: IPA, isPermission: true, isExec: true, isWritable: false });
    expect(table.walks()).toBe(1);
    expect(table.words()).toEqual([`3 ${IPA.toString(16)} -> 80000000 r-x`]);
  });

  test('an execution while logging takes away W: the leaf is built from scratch (section 5P, 1)', () => {
    const table = mapped(RW);
    const fault = { ipa: IPA, isPermission: true, isExec: true, isWritable: false, logging: true };
    expect(table.fault(fault)).toBe('ok');
    expect(table.words()).toEqual([`3 ${IPA.toString(16)} -> 80000000 r-x`]);
  });

  test.each([
    ['a page of a page', 3, PAGE, true],
    ['a page of a block', 2, PAGE, true],
    ['a block of the block', 2, M2, true],
    ['a block of a larger one', 1, M2, true],
    ['a block of a page', 3, M2, false],
  ] as const)('%s', (_, level, size, is) => {
    const table = new LegacyTable();
    if (level === 3) table.setPte(G1, HOST, RX);
    else table.setHuge(G1, level, 2 * G1, RX);
    const executable = table.isExecutable(G1, size);
    expect(executable).toBe(is);
    expect(table.isExecutable(2 * G1, size)).toBe(false);
  });

  test('of an address that only the root covers is none', () => {
    const table = new LegacyTable({ ipaBits: 48 });
    table.setPte(0, HOST, RX);
    expect([0, 2 ** 39].map((ipa) => table.isExecutable(ipa, PAGE))).toEqual([true, false]);
  });

  test('a leaf that may not be executed says no', () => {
    expect(mapped(RO).isExecutable(IPA, PAGE)).toBe(false);
  });
});

test('a write while logging dissolves a block', () => {
  const table = new LegacyTable();
  table.setHuge(IPA, 2, HOST, RO);
  table.logged();
  const frame = (HOST + 3 * PAGE) as Phys;
  const fault = { ipa: IPA + 3 * PAGE, frame, isPermission: true, logging: true };
  expect(table.fault(fault)).toBe('ok');
  expect(table.logged()).toEqual(['tlbi 40203000 hint 2']);
  expect(table.words()).toEqual(['3 40203000 -> 80003000 rw-']);
});
