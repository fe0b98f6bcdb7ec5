/** Permissions added in place, in the form of 5.14 to 6.1. */
import { expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import { stage2RelaxPerms } from '../../../src/pgtable/exclusive/relax.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { PAGE, RO, RW } from '../helpers.ts';
import { ParallelTable } from '../parallel/helpers.ts';

const IPA = 0x4020_0000;

function onePage(): ParallelTable {
  const table = new ParallelTable();
  table.map({ ipa: IPA, size: PAGE, phys: 0x8000_0000, prot: RO });
  table.logged();
  return table;
}

test('W: a plain store, then one TLBI for every CPU', () => {
  const table = onePage();
  expect(table.trace(() => stage2RelaxPerms(table.pgt, IPA, RW))).toEqual([
    'store 400000800007ff',
    'barrier 2',
  ]);
  expect(table.logged()).toEqual(['tlbi 40200000 hint 3']);
});

test('X: instructions are invalidated before the store', () => {
  const table = onePage();
  expect(table.trace(() => stage2RelaxPerms(table.pgt, IPA, RO | Prot.x))).toEqual([
    'barrier 0',
    'store 8000077f',
    'barrier 2',
  ]);
  expect(table.logged()).toEqual(['icache 80000000 1000', 'tlbi 40200000 hint 3']);
});

test('no leaf: nothing is stored, and the guest takes a translation fault next', () => {
  const table = onePage();
  expect(drive(stage2RelaxPerms(table.pgt, IPA + PAGE, RW))).toBe('ok');
  expect(table.words()).toEqual(['3 40200000 -> 80000000 r--']);
  expect(table.logged()).toEqual(['tlbi 40201000 hint 0']);
});

test.each([Prot.sw0, Prot.ux, Prot.px])('protection %d is refused', (prot) => {
  const table = onePage();
  expect(drive(stage2RelaxPerms(table.pgt, IPA, RO | prot))).toBe('invalid');
  expect(table.logged()).toEqual([]);
});
