import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { phys, type Level } from '../../src/machine/address.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import { Attributes, Descriptor } from '../../src/machine/descriptor.ts';
import { TableDigest, digestTable, type AccessFlagForm } from '../../src/pgtable/digest.ts';
import { SipHash } from '../../src/pgtable/siphash.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW, TestTable } from './helpers.ts';

const AT = 0x4020_0000;
const PA = 0x8000_0000;

type Step = (table: TestTable) => unknown;

/** A table made by some steps. */
function made(...steps: readonly Step[]): TestTable {
  const table = new TestTable({ tableFrames: 40 });
  for (const step of steps) step(table);
  return table;
}

/** The digest of such a table. */
const hexOf = (...steps: readonly Step[]): string => drive(digestTable(made(...steps).pgt)).hex();

const page = (table: TestTable): unknown => table.map(AT, PAGE, PA);
const other = (table: TestTable): unknown => table.map(2 ** 39 + AT, 2 * PAGE, PA);

/** Its digest, and an entry of its root: where the first table is. */
function placed(...steps: readonly Step[]): string[] {
  const table = made(...steps);
  return [drive(digestTable(table.pgt)).hex(), `${table.machine.entry(table.pgt.pgd, 1)}`];
}

/** A page made old by hand. */
const old: Step = (table) => table.plant(AT, 3, 0x0040_0000_8000_03ffn);

describe('equal translations have equal digests', () => {
  test('wherever their tables are', () => {
    const [one, two] = [placed(page, other), placed(other, page)];
    expect(one[0]).toBe(two[0]);
    expect(one[1]).not.toBe(two[1]);
  });

  const histories: readonly (readonly [string, Step, Step])[] = [
    [
      'a page unmapped',
      page,
      (table) => [table.map(AT + PAGE, PAGE, PA), table.unmap(AT + PAGE, PAGE)],
    ],
    ['a table unmapped', page, (table) => [other(table), table.unmap(2 ** 39, 2 ** 39)]],
    ['a block dissolved', (table) => table.map(AT, M2, PA + M2), page],
    ['other attributes', (table) => table.map(AT, PAGE, PA, RO), page],
  ];

  test.each(histories)('whatever was there before: %s', (_what, before, after) => {
    expect(hexOf(before, after)).toBe(hexOf(page));
  });

  test('of nothing, fresh or emptied', () => {
    const emptied = hexOf(page, other, (table) => {
      table.unmap(0, 2 ** 40);
      // What is left is stale, not empty.
      expect(table.lookup(AT).value).not.toBe(0n);
    });
    expect(emptied).toBe(hexOf());
  });
});

describe('another translation has another digest', () => {
  const RX = Prot.r | Prot.x;
  test.each([
    ['nothing', () => []],
    ['another address', (table: TestTable) => table.map(AT + PAGE, PAGE, PA)],
    ['another address far away', (table: TestTable) => table.map(2 ** 39 + AT, PAGE, PA)],
    ['another frame', (table: TestTable) => table.map(AT, PAGE, PA + PAGE)],
    ['another frame above 4 GiB', (table: TestTable) => table.map(AT, PAGE, 2 ** 36 + PA)],
    ['no W', (table: TestTable) => table.map(AT, PAGE, PA, RO)],
    ['X', (table: TestTable) => table.map(AT, PAGE, PA, RX)],
    ['a device', (table: TestTable) => table.map(AT, PAGE, PA, RW | Prot.device)],
    ['a page more', (table: TestTable) => table.map(AT, 2 * PAGE, PA)],
    ['a block', (table: TestTable) => table.map(AT, M2, PA)],
  ])('than a page: %s', (_what, step) => {
    expect(hexOf(step)).not.toBe(hexOf(page));
  });

  test('for the access flag', () => {
    expect(hexOf(page, old)).not.toBe(hexOf(page));
  });

  test('for a block and the pages that translate alike', () => {
    const pages = hexOf((table) => {
      for (let at = 0; at < M2; at += PAGE) table.map(AT + at, PAGE, PA + at);
    });
    expect(pages).not.toBe(hexOf((table) => table.map(AT, M2, PA)));
  });
});

test('the whole table is digested, and counted by level', () => {
  const table = made(page, other, (t) => t.map(4 * G1, G1 + M2, 4 * G1));
  const digest = drive(digestTable(table.pgt));
  expect(digest.leaves).toEqual([0, 1, 1, 3]);
  // Two tables each for the pages, one for the block.
  expect(digest.tables).toBe(5);
});

test('no table is an error', () => {
  const { pgt } = made();
  expect(() => drive(digestTable({ ...pgt, pgd: phys(0) }))).toThrow('digestTable: invalid');
});

const tableAt = (at: number): Descriptor => Descriptor.table(GEOMETRY_4K, phys(at));

function handDigest(...entries: readonly (readonly [Descriptor, number, Level])[]): string {
  const sum = new TableDigest();
  for (const [entry, addr, level] of entries) sum.add(entry, addr, level);
  return sum.hex();
}

describe('entries given by hand', () => {
  const leaf = Descriptor.leaf(GEOMETRY_4K, phys(PA), 3, new Attributes(0x7fc, 0));

  test('digest as the walk does', () => {
    const found = made(page);
    const { value } = found.lookup(AT);
    const walked = drive(digestTable(found.pgt)).hex();
    const entry = new Descriptor(Number(BigInt.asIntN(32, value)), Number(value >> 32n));
    expect(handDigest([tableAt(0x1000), G1, 1], [tableAt(0x2000), AT, 2], [entry, AT, 3])).toBe(
      walked,
    );
  });

  test('are two words each: page number and level, then the value', () => {
    const hash = new SipHash([0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]);
    const addr = 0x82_3456_789a * PAGE;
    hash.update(0x3456_789a, (0x82 << 2) | 3);
    hash.update(leaf.lo, leaf.hi);
    expect(handDigest([leaf, addr, 3])).toBe(hash.hex());
  });

  test('count without their access flag where that is asked for', () => {
    const bits = { young: 0x7fc, old: 0x3fc, readOnly: 0x77c };
    const digests = (form: AccessFlagForm): string[] =>
      Object.values(bits).map((lo) => {
        const sum = new TableDigest(form);
        sum.add(Descriptor.leaf(GEOMETRY_4K, phys(PA), 3, new Attributes(lo, 0)), AT, 3);
        return sum.hex();
      });
    const [first, second, third] = digests('ignored');
    expect(second).toBe(first);
    expect(third).not.toBe(first);
    expect(new Set(digests('exact')).size).toBe(3);
  });

  test('count address, level and value, not the place of a table', () => {
    const one = handDigest([leaf, AT, 3]);
    expect(handDigest([leaf, AT, 3])).toBe(one);
    const block = Descriptor.leaf(GEOMETRY_4K, phys(PA), 2, new Attributes(0x7fc, 0));
    expect(handDigest([block, G1, 2])).not.toBe(handDigest([block, G1, 1]));
    expect(handDigest([leaf, AT + PAGE, 3])).not.toBe(one);
    expect(handDigest([leaf, 2 ** 44 + AT, 3])).not.toBe(one);
    expect(
      handDigest([leaf.withAttributes(new Attributes(0, -1), new Attributes(0, 0)), AT, 3]),
    ).not.toBe(one);
    expect(handDigest([tableAt(0x1000), AT, 2])).toBe(handDigest([tableAt(0x10_0000_2000), AT, 2]));
    expect(handDigest([tableAt(0x1000), AT, 3])).not.toBe(handDigest([tableAt(0x2000), AT, 3]));
  });

  test('in another order are another table', () => {
    const [one, two] = [
      [leaf, AT, 3],
      [leaf, AT + PAGE, 3],
    ] as const;
    expect(handDigest(one, two)).not.toBe(handDigest(two, one));
  });
});
