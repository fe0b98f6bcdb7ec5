import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { phys, type Level } from '../../src/machine/address.ts';
import { Geometry, GEOMETRY_4K } from '../../src/machine/geometry.ts';
import {
  decodeEntry,
  decodeVtcrFields,
  decodeVttbrFields,
  STAGE2_BLOCK,
  STAGE2_LEAF,
  VTCR,
  VTTBR,
} from '../../src/pgtable/bit-decoder.ts';
import { dumpEntry, dumpTable, mergeRanges, SpanMap } from '../../src/pgtable/dump.ts';
import type { DumpEntry, DumpRange } from '../../src/pgtable/dump.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { G1, M2, PAGE, RO, RW, TestTable } from './helpers.ts';

const PA = 0x8000_0000;
const RW_XN = { MemAttr: 'Normal-WB', S2AP: 'RW', SH: 'inner', AF: 1, XN: 'yes' };

describe('the test vectors of section 1.8', () => {
  test.each([
    ['page RW, XN', 3, 0x0040_0000_8000_07ffn, 'page', {}],
    ['page RO, XN', 3, 0x0040_0000_8000_077fn, 'page', { S2AP: 'RO' }],
    ['page RW, executable', 3, 0x0000_0000_8000_07ffn, 'page', { XN: 'no' }],
    ['2M block RW, XN', 2, 0x0040_0000_8000_07fdn, 'block', {}],
    ['1G block RW, XN', 1, 0x0040_0000_8000_07fdn, 'block', {}],
    ['page RW, XN, AF cleared', 3, 0x0040_0000_8000_03ffn, 'page', { AF: 0 }],
    ['device page RW', 3, 0x0040_0000_8000_07c7n, 'page', { MemAttr: 'Device-nGnRE' }],
    [
      'page RW, XN, FWB machine',
      3,
      0x0040_0000_8000_07dbn,
      'page',
      { MemAttr: 'Normal-WB-forced' },
    ],
  ] as const)('%s', (_meaning, level, value, kind, attributes) => {
    expect(decodeEntry(value, level, GEOMETRY_4K)).toEqual({
      kind,
      oa: PA,
      attributes: { ...RW_XN, ...attributes },
    });
  });

  test.each([0, 1, 2] as const)('a table pointer at level %i', (level) => {
    expect(decodeEntry(0x8000_0003n, level, GEOMETRY_4K)).toEqual({
      kind: 'table',
      oa: PA,
      attributes: {},
    });
  });

  test('VTCR_EL2', () => {
    expect(decodeVtcrFields(0x8025_3558n)).toEqual({
      T0SZ: 24,
      SL0: 1,
      IRGN0: 'WBWA',
      ORGN0: 'WBWA',
      SH0: 'inner',
      TG0: '4K',
      PS: '48-bit',
      VS: '8-bit',
      HA: 1,
      DS: 0,
    });
  });
});

describe('the registers', () => {
  test.each([
    ['TG0', 1n << 14n, '64K'],
    ['TG0', 2n << 14n, '16K'],
    ['VS', 1n << 19n, '16-bit'],
    ['HD', 1n << 22n, 1],
    ['DS', 1n << 32n, 1],
  ])('VTCR_EL2.%s of %i is %s', (name, bits, meaning) => {
    expect(decodeVtcrFields((1n << 31n) | bits)).toMatchObject({ [name]: meaning });
  });

  test('VTCR_EL2.PS is the PARange', () => {
    const ranges = Array.from({ length: 8 }, (_, ps) => {
      const { PS } = decodeVtcrFields((1n << 31n) | (BigInt(ps) << 16n));
      return PS;
    });
    const bits = [32, 36, 40, 42, 44, 48, 52];
    expect(ranges).toEqual([...bits.map((number) => `${number}-bit`), 7]);
  });

  test('VTCR_EL2 without its RES1 bit shows it', () => {
    expect(decodeVtcrFields(0n)).toMatchObject({ other: '0x80000000' });
    expect(decodeVtcrFields(1n << 31n)).not.toHaveProperty('other');
  });

  test('VTTBR_EL2', () => {
    expect(decodeVttbrFields(0xabcd_0010_0000_2001n)).toEqual({
      VMID: 0xabcd,
      BADDR: '0x1000002000',
      CnP: 1,
    });
  });
});

describe('invalid entries', () => {
  test.each([
    [0n, { is: 'empty' }],
    [0x400n, { is: 'locked' }],
    [1n << 2n, { is: 'owner', owner: 1 }],
    [0xffn << 2n, { is: 'owner', owner: 0xff }],
    [0x0040_0000_8000_07fen, { is: 'stale' }],
    [0x8000_0002n, { is: 'stale' }],
    // The lock's bit with anything beside it, and the type bit alone, are what a leaf left.
    [0x404n, { is: 'stale' }],
    [2n, { is: 'stale' }],
  ] as const)('%i', (value, attributes) => {
    expect(decodeEntry(value, 3, GEOMETRY_4K)).toEqual({ kind: 'invalid', oa: 0, attributes });
  });

  test.each([
    [3, 0x0040_0000_8000_07fdn],
    [0, 0x0040_0000_8000_07fdn],
  ] as const)('a block at level %i is reserved', (level, value) => {
    const { kind, attributes } = decodeEntry(value, level, GEOMETRY_4K);
    expect({ kind, attributes }).toEqual({ kind: 'invalid', attributes: { is: 'reserved' } });
  });
});

test.each([
  [0n, 'none'],
  [0x40n, 'RO'],
  [0x80n, 'WO'],
  [0xc0n, 'RW'],
])('S2AP of %i is %s', (bits, meaning) => {
  const { attributes } = decodeEntry(0x0040_0000_8000_073fn | bits, 3, GEOMETRY_4K);
  expect(attributes).toEqual({ ...RW_XN, S2AP: meaning });
});

test('bit 16 of a page belongs to its address', () => {
  const decoded = decodeEntry(0x0040_0000_8001_07ffn, 3, GEOMETRY_4K);
  expect(decoded).toEqual({ kind: 'page', oa: PA + 0x1_0000, attributes: RW_XN });
});

test('the memory types have names, but for the reserved ones', () => {
  const names = Array.from({ length: 16 }, (_, type) => {
    const { attributes } = decodeEntry(
      0x0040_0000_8000_07c3n | (BigInt(type) << 2n),
      3,
      GEOMETRY_4K,
    );
    return attributes['MemAttr'];
  });
  expect(names).toEqual([
    'Device-nGnRnE',
    'Device-nGnRE',
    'Device-nGRE',
    'Device-GRE',
    4,
    'Normal-NC',
    'Normal-WB-forced',
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    'Normal-WB',
  ]);
});

describe('what Linux never sets shows', () => {
  const page = 0x0040_0000_8000_07ffn;
  const block = 0x0040_0000_8000_07fdn;
  test.each([
    ['FnXS', 3, page | (1n << 11n), { FnXS: 1 }],
    ['DBM', 3, page | (1n << 51n), { DBM: 1 }],
    ['Contiguous', 3, page | (1n << 52n), { Contiguous: 1 }],
    ['XN for EL1 alone', 3, page ^ (3n << 53n), { XN: 'EL1' }],
    ['XN for EL0 alone', 3, page | (1n << 53n), { XN: 'EL0' }],
    ['software bits', 3, page | (5n << 55n), { SW: 5 }],
    ['PBHA', 3, page | (9n << 59n), { PBHA: 9 }],
    ['nT of a block', 2, block | (1n << 16n), { nT: 1 }],
    ['unaligned blocks', 2, block | (3n << 12n), { other: '0x3000' }],
    ['bits of no field', 3, page | (1n << 63n) | (1n << 50n), { other: '0x8004000000000000' }],
    ['a reserved memory type', 3, page ^ (2n << 2n), { MemAttr: 13 }],
  ] as const)('%s', (_what, level, value, attributes) => {
    const decoded = decodeEntry(value, level, GEOMETRY_4K);
    expect(decoded.attributes).toEqual({ ...RW_XN, ...attributes });
    expect(decoded.oa).toBe(PA);
  });

  test('in a table pointer, too', () => {
    const { kind, attributes } = decodeEntry((1n << 63n) | 0x8000_0403n, 2, GEOMETRY_4K);
    expect({ kind, attributes }).toEqual({
      kind: 'table',
      attributes: { other: '0x8000000000000400' },
    });
  });
});

describe('addresses of other formats', () => {
  const G4W = new Geometry(12, true);
  const G16 = new Geometry(14);
  const G16W = new Geometry(14, true);
  const G64 = new Geometry(16);
  test.each([
    ['4K, 48 bits', GEOMETRY_4K, 3, 0x0000_ffff_ffff_f7ffn, 0xffff_ffff_f000],
    ['4K, LPA2', G4W, 3, 0x0003_ffff_ffff_f7ffn, 0xf_ffff_ffff_f000],
    ['4K, LPA2, OA[51:50] in the place of SH', G4W, 3, 0x2ffn, 2 ** 51],
    ['16K', G16, 3, 0x0000_ffff_ffff_c7ffn, 0xffff_ffff_c000],
    ['16K, LPA2', G16W, 2, 0x0003_ffff_fe00_07fdn, 0xf_ffff_fe00_0000],
    ['64K, OA[51:48] in bits 15:12', G64, 3, 0x0000_0000_0001_a7ffn, 0xa_0000_0001_0000],
    ['64K block', G64, 2, 0x0000_0000_2000_a7fdn, 0xa_0000_2000_0000],
    ['64K table', G64, 2, 0x0000_0000_0001_1003n, 0x1_0000_0001_0000],
  ] as const)('%s', (_what, geometry, level, value, oa) => {
    const decoded = decodeEntry(value, level, geometry);
    expect(decoded.oa).toBe(oa);
    expect(decoded.attributes).not.toHaveProperty('other');
    const hasSh = decoded.kind !== 'table' && !geometry.lpa2;
    expect(Object.hasOwn(decoded.attributes, 'SH')).toBe(hasSh);
  });
});

test('fields do not overlap', () => {
  for (const fields of [[...STAGE2_LEAF, ...STAGE2_BLOCK], VTCR, VTTBR]) {
    const bits = fields.flatMap(({ high, low }) =>
      Array.from({ length: high - low + 1 }, (_, i) => low + i),
    );
    expect(new Set(bits).size).toBe(bits.length);
  }
});

const at = (ipa: number, level: Level, value: bigint): DumpEntry =>
  dumpEntry({ ipa, level, value }, GEOMETRY_4K);
const entriesOf = (table: TestTable): DumpEntry[] => drive(dumpTable(table.pgt));
const rangesOf = (table: TestTable): DumpRange[] => mergeRanges(entriesOf(table), GEOMETRY_4K);

/** Ranges as words. */
const words = (ranges: readonly DumpRange[]): string[] =>
  ranges.map(({ first, count }) => {
    const what = first.kind === 'invalid' ? String(first.attributes['is']) : first.kind;
    return `${first.level} ${first.ipa.toString(16)} ${count} ${what}`;
  });

describe('a table', () => {
  test('that is empty has no entries', () => {
    expect(entriesOf(new TestTable())).toEqual([]);
  });

  test('gives every entry, a table before its children', () => {
    const table = new TestTable();
    table.map(2 ** 39, G1, G1);
    table.map(G1, PAGE, PA, RO);
    const found = entriesOf(table);
    expect(found.map(({ level, ipa, kind }) => [level, ipa, kind])).toEqual([
      [1, G1, 'table'],
      [2, G1, 'table'],
      [3, G1, 'page'],
      [1, 2 ** 39, 'block'],
    ]);
    expect(found[2]).toMatchObject({ oa: PA, value: 0x0040_0000_8000_077fn });
    expect(found[1]?.oa).toBe(Number(found[1]?.value) - 3);
  });

  test('shows entries that are neither empty nor valid, and a mapping beside them', () => {
    const table = new TestTable();
    table.map(G1, 6 * PAGE, PA);
    table.unmap(G1 + PAGE, 2 * PAGE);
    table.plant(G1 + 3 * PAGE, 3, 0x400n);
    table.plant(G1 + 4 * PAGE, 3, 4n);
    expect(words(rangesOf(table))).toEqual([
      '1 40000000 1 table',
      '2 40000000 1 table',
      '3 40000000 1 page',
      '3 40001000 2 stale',
      '3 40003000 1 locked',
      '3 40004000 1 owner',
      '3 40005000 1 page',
    ]);
  });

  test('without a root is an error', () => {
    const { pgt } = new TestTable();
    expect(() => drive(dumpTable({ ...pgt, pgd: phys(0) }))).toThrow('dumpTable: invalid');
  });
});

/** Ranges of level 3. */
const pages = (table: TestTable): string[] => words(rangesOf(table)).filter((w) => w[0] === '3');

describe('ranges', () => {
  test('join leaves that go on, across tables only where they are neighbours', () => {
    const table = new TestTable();
    for (let i = 0; i < 8; i++) table.map(G1 + i * PAGE, PAGE, PA + i * PAGE);
    expect(pages(table)).toEqual(['3 40000000 8 page']);
    // The next table's pointer stands between them.
    table.map(G1 + M2 - PAGE, 2 * PAGE, PA + M2 - PAGE);
    expect(pages(table)).toEqual(['3 40000000 8 page', '3 401ff000 1 page', '3 40200000 1 page']);
  });

  test.each<[string, (table: TestTable) => unknown]>([
    ['another address', (t) => t.map(G1 + PAGE, PAGE, PA + 2 * PAGE)],
    ['other permissions', (t) => t.map(G1 + PAGE, PAGE, PA + PAGE, RO)],
    ['execution', (t) => t.map(G1 + PAGE, PAGE, PA + PAGE, RW | Prot.x)],
    ['age', (t) => t.plant(G1 + PAGE, 3, 0x0040_0000_8000_13ffn)],
    ['a hole', (t) => t.plant(G1 + PAGE, 3, 0n)],
    [
      'a hole, though addresses go on behind it',
      (t) => [t.plant(G1 + PAGE, 3, 0n), t.map(G1 + 2 * PAGE, PAGE, PA + PAGE)],
    ],
  ])('end at %s', (_what, change) => {
    const table = new TestTable();
    table.map(G1, 3 * PAGE, PA);
    change(table);
    const joined = pages(table);
    expect(joined).not.toEqual(['3 40000000 3 page']);
    expect(joined[0]).toBe('3 40000000 1 page');
  });

  test('join blocks', () => {
    const table = new TestTable();
    table.map(G1, 3 * M2, PA);
    table.map(2 * G1, 2 * G1, 2 * G1);
    expect(words(rangesOf(table))).toEqual([
      '1 40000000 1 table',
      '2 40000000 3 block',
      '1 80000000 2 block',
    ]);
  });

  test('do not join blocks of different sizes', () => {
    const table = new TestTable();
    table.map(2 * G1 - M2, M2, 2 * G1 - M2);
    table.map(2 * G1, G1, 2 * G1);
    expect(words(rangesOf(table))).toEqual([
      '1 40000000 1 table',
      '2 7fe00000 1 block',
      '1 80000000 1 block',
    ]);
  });

  test('do not join invalid entries of different kinds, or tables', () => {
    const row = [
      at(0, 2, 0x8000_0003n),
      at(M2, 2, 0x8020_0003n),
      at(2 * M2, 2, 0x400n),
      at(3 * M2, 2, 0x400n),
      at(4 * M2, 2, 4n),
      at(5 * M2, 2, 8n),
    ];
    expect(mergeRanges(row, GEOMETRY_4K).map(({ count }) => count)).toEqual([1, 1, 2, 1, 1]);
  });
});

describe('spans', () => {
  const SHAPE = { geometry: GEOMETRY_4K, startLevel: 1, iaLimit: 2 ** 33 } as const;

  const spansOf = (...entries: readonly DumpEntry[]): unknown[] => {
    const map = new SpanMap(SHAPE);
    for (const entry of entries) expect(map.place(entry)).toBe(null);
    return map
      .end()
      .map(({ start, end, level, entry }) => [start, end, level, entry?.kind ?? 'hole']);
  };

  test('of an empty table are one hole', () => {
    expect(spansOf()).toEqual([[0, 2 ** 33, 1, 'hole']]);
  });

  test('have holes of the level of the table around them', () => {
    const found = spansOf(
      at(G1, 1, 3n),
      at(G1, 2, 3n),
      at(G1 + PAGE, 3, 0x7ffn),
      at(G1 + 3 * M2, 2, 0x7fdn),
      at(3 * G1, 1, 0x7fdn),
      at(5 * G1, 1, 4n),
    );
    expect(found).toEqual([
      [0, G1, 1, 'hole'],
      [G1, G1 + PAGE, 3, 'hole'],
      [G1 + PAGE, G1 + 2 * PAGE, 3, 'page'],
      [G1 + 2 * PAGE, G1 + M2, 3, 'hole'],
      [G1 + M2, G1 + 3 * M2, 2, 'hole'],
      [G1 + 3 * M2, G1 + 4 * M2, 2, 'block'],
      [G1 + 4 * M2, 2 * G1, 2, 'hole'],
      [2 * G1, 3 * G1, 1, 'hole'],
      [3 * G1, 4 * G1, 1, 'block'],
      [4 * G1, 5 * G1, 1, 'hole'],
      [5 * G1, 6 * G1, 1, 'invalid'],
      [6 * G1, 8 * G1, 1, 'hole'],
    ]);
  });

  test('have no hole where a full table ends', () => {
    const found = spansOf(at(0, 1, 0x7fdn), at(7 * G1, 1, 3n), at(8 * G1 - M2, 2, 0x7fdn));
    expect(found).toEqual([
      [0, G1, 1, 'block'],
      [G1, 7 * G1, 1, 'hole'],
      [7 * G1, 8 * G1 - M2, 2, 'hole'],
      [8 * G1 - M2, 8 * G1, 2, 'block'],
    ]);
  });

  test.each([
    ['unaligned', [at(M2, 1, 0x7fdn)], 'not a multiple of what an entry of level 1 covers'],
    ['beyond the end', [at(2 ** 33, 1, 0x7fdn)], 'beyond the input address space'],
    ['twice', [at(0, 1, 0x7fdn), at(0, 1, 0x7fdn)], 'inside another entry'],
    ['inside a block', [at(0, 1, 0x7fdn), at(M2, 2, 0x7fdn)], 'inside another entry'],
    ['without a table', [at(0, 3, 0x7ffn)], 'an entry of level 3 in a table of level 1'],
    ['above', [at(0, 1, 3n), at(0, 1, 3n)], 'an entry of level 1 in a table of level 2'],
    [
      'after its table',
      [at(0, 1, 3n), at(G1, 2, 0x7fdn)],
      'an entry of level 2 in a table of level 1',
    ],
  ] as const)('refuse an entry %s', (_what, entries, problem) => {
    const map = new SpanMap(SHAPE);
    expect(entries.map((entry) => map.place(entry)).at(-1)).toBe(problem);
  });
});
