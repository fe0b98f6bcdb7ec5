import { describe, expect, test } from 'vitest';
import { EventKind } from '../../../src/engine/events.ts';
import { drive } from '../../../src/engine/explore.ts';
import type { Outcome } from '../../../src/pgtable/outcome.ts';
import {
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2TestClearYoung,
  stage2Wrprotect,
} from '../../../src/pgtable/parallel/attributes.ts';
import { stage2SetOwner } from '../../../src/pgtable/parallel/map.ts';
import { getLeaf } from '../../../src/pgtable/get-leaf.ts';
import { stage2Flush } from '../../../src/pgtable/stage2-flush.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { M2, PAGE, RO, RW } from '../helpers.ts';
import { FAULT, LOCKED, ParallelTable } from './helpers.ts';

const IPA = 0x4020_0000;
const PHYS = 0x8000_0000;
const AF = 0x400n;
const page = { ipa: IPA, size: PAGE, phys: PHYS };

/** One page, with `prot`. */
function onePage(prot: number = RO, options = {}): ParallelTable {
  const table = new ParallelTable(options);
  table.map({ ...page, prot });
  table.logged();
  return table;
}

const relax = (table: ParallelTable, prot: number, ipa = IPA, flags = FAULT): Outcome =>
  drive(stage2RelaxPerms(table.pgt, { ipa, prot, flags }));

/** The log without the brackets of shared walks. */
const logged = (table: ParallelTable): string[] =>
  table.logged().filter((line) => !line.includes('shared'));

describe('relaxed permissions', () => {
  test('are swapped in, and this CPU alone drops what it cached', () => {
    const table = onePage();
    expect(relax(table, RW)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
    expect(table.ops.log).toEqual([
      'shared',
      'begin',
      'end',
      'no longer shared',
      'local tlbi 40200000 hint 3',
    ]);
  });

  test('are flushed after the swap', () => {
    const table = onePage();
    const { pgt } = table;
    const trace = table.trace(() => stage2RelaxPerms(pgt, { ipa: IPA, prot: RW, flags: FAULT }));
    expect(trace).toEqual(['cas 400000800007ff', 'barrier 3']);
    const exclusive = table.trace(() =>
      stage2RelaxPerms(pgt, { ipa: IPA, prot: RW | Prot.x, flags: 0 }),
    );
    expect(exclusive).toEqual(['barrier 0', 'store 800007ff', 'barrier 3']);
  });

  test('that are there already are not stored, but flushed: another CPU relaxed first', () => {
    const table = onePage(RW);
    const { pgt } = table;
    const trace = table.trace(() => stage2RelaxPerms(pgt, { ipa: IPA, prot: RW, flags: FAULT }));
    expect(trace).toEqual(['barrier 3']);
    expect(relax(table, RO)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
  });

  test.each([
    ['nothing', null],
    ['a locked entry', LOCKED],
    ['an owner', 4n],
  ])('on %s: again, flushed without a level', (_what, value) => {
    const table = new ParallelTable();
    if (value !== null) table.plant(IPA, value);
    expect(relax(table, RW)).toBe('again');
    expect(logged(table)).toEqual(['local tlbi 40200000 hint 0']);
    expect(table.lookup(IPA).value).toBe(value ?? 0n);
  });

  test('to execute invalidate the instruction cache before the swap', () => {
    const table = onePage();
    expect(relax(table, RO | Prot.x)).toBe('ok');
    expect(logged(table)).toEqual(['icache 80000000 1000', 'local tlbi 40200000 hint 3']);
    expect(relax(table, RW | Prot.x)).toBe('ok');
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rwx']);
    expect(logged(table)).toEqual(['local tlbi 40200000 hint 3']);
  });

  test('of a block name its level and its memory', () => {
    const table = new ParallelTable();
    table.map({ ipa: IPA, size: M2, phys: PHYS, prot: RO });
    table.logged();
    expect(relax(table, RO | Prot.x, IPA + 7 * PAGE)).toBe('ok');
    expect(logged(table)).toEqual(['icache 80000000 200000', 'local tlbi 40207000 hint 2']);
  });

  test.each([
    ['ux', RO | Prot.ux],
    ['px', RO | Prot.px],
    ['software bits', RO | Prot.sw0],
    ['the last software bit', RO | Prot.sw3],
  ])('with %s are refused', (_what, prot) => {
    const table = onePage();
    expect(relax(table, prot)).toBe('invalid');
    expect(table.ops.log).toEqual([]);
  });

  test('are not flushed when there was no walk', () => {
    const table = onePage();
    expect(relax(table, RW, 2 ** 40)).toBe('outOfRange');
    expect(table.ops.log).toEqual([]);
    const pool = onePage(RO, { isPool: true });
    expect(relax(pool, RW)).toBe('notPermitted');
    expect(pool.words()).toEqual(['3 40200000 -> 80000000 r--']);
    expect(relax(pool, RW, IPA, 0)).toBe('ok');
  });
});

const mkyoung = (table: ParallelTable, ipa = IPA): bigint =>
  drive(stage2Mkyoung(table.pgt, ipa, FAULT)).toBigInt();

describe('mkyoung', () => {
  test('sets AF, gives the leaf as it was, and publishes', () => {
    const table = onePage(RW);
    const young = table.lookup(IPA).value;
    table.plant(IPA, young & ~AF);
    expect(mkyoung(table)).toBe(young & ~AF);
    expect(table.lookup(IPA).value).toBe(young);
    expect(logged(table)).toEqual(['publish']);
    expect(mkyoung(table)).toBe(young);
  });

  test.each([
    ['nothing', 0n],
    ['a locked entry', LOCKED],
  ])('finds %s: no leaf, nothing to publish', (_what, value) => {
    const table = onePage();
    table.plant(IPA, value);
    expect(mkyoung(table)).toBe(0n);
    expect(logged(table)).toEqual([]);
  });
});

const age = (table: ParallelTable, size: number, mkold: boolean): boolean =>
  drive(stage2TestClearYoung(table.pgt, { ipa: IPA, size, mkold }));

describe('test_clear_young', () => {
  test('tells whether any leaf is young, and leaves it so unless asked', () => {
    const table = onePage(RW);
    table.map({ ...page, ipa: IPA + 9 * PAGE, phys: PHYS + 9 * PAGE });
    table.logged();
    const young = table.entries();
    expect(age(table, M2, false)).toBe(true);
    expect(table.entries()).toEqual(young);
    expect(age(table, PAGE, true)).toBe(true);
    expect(age(table, PAGE, true)).toBe(false);
    expect(age(table, M2, true)).toBe(true);
    expect(age(table, M2, false)).toBe(false);
    expect(table.entries()).toEqual(young.map((entry) => ({ ...entry, value: entry.value & ~AF })));
    expect(table.logged()).toEqual([]);
  });

  test('stores nothing where a leaf is old already', () => {
    const table = onePage(RW);
    const stores = (): number =>
      table.machine
        .alone(function* () {
          yield* stage2TestClearYoung(table.pgt, { ipa: IPA, size: PAGE, mkold: true });
        })
        .filter(({ kind }) => kind === EventKind.store64).length;
    expect([stores(), stores()]).toEqual([1, 0]);
  });

  test('of what is no leaf is false: LOCKED has the bit of AF', () => {
    const table = onePage();
    table.plant(IPA, LOCKED);
    expect(age(table, PAGE, true)).toBe(false);
    expect(table.lookup(IPA).value).toBe(LOCKED);
  });
});

describe('what is not a leaf', () => {
  test('is found by get_leaf and passed over by flush', () => {
    const table = onePage();
    const { pgt } = table;
    drive(stage2SetOwner(pgt, { ipa: IPA + PAGE, size: PAGE, owner: 1, cache: table.cache }));
    table.plant(IPA + 2 * PAGE, LOCKED);
    const found = [0, 1, 2].map((i) => drive(getLeaf(pgt, IPA + i * PAGE)));
    expect(found).toMatchObject([
      { level: 3 },
      { level: 3, entry: { lo: 4 } },
      { entry: { lo: 0x400 } },
    ]);
    table.logged();
    expect(drive(stage2Flush(pgt, IPA, 3 * PAGE))).toBe('ok');
    expect(table.logged()).toEqual(['clean 80000000 1000']);
  });
});

describe('wrprotect', () => {
  test('clears W over a range, holes and all, and leaves the TLB to its caller', () => {
    const table = onePage(RW);
    table.map({ ...page, ipa: IPA + 9 * PAGE, prot: RW });
    table.map({ ipa: IPA + M2, size: M2, phys: PHYS, prot: RW | Prot.x });
    table.logged();
    expect(drive(stage2Wrprotect(table.pgt, IPA, 2 * M2))).toBe('ok');
    expect(table.words()).toEqual([
      '3 40200000 -> 80000000 r--',
      '3 40209000 -> 80000000 r--',
      '2 40400000 -> 80000000 r-x',
    ]);
    expect(table.ops.log).toEqual(['begin', 'end']);
  });
});
