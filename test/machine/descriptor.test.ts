import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Order, drive } from '../../src/engine/explore.ts';
import { EventKind } from '../../src/engine/events.ts';
import { phys, type Level } from '../../src/machine/address.ts';
import { GEOMETRY_4K, Geometry } from '../../src/machine/geometry.ts';
import {
  Attributes,
  Descriptor,
  EMPTY,
  NO_ATTRIBUTES,
  S2_HI,
  S2_LO,
  PERMISSIONS,
  loadDescriptor,
  storeDescriptor,
  tryStoreDescriptor,
} from '../../src/machine/descriptor.ts';
import { TinyMachine } from '../support/tiny-machine.ts';

const PA = phys(0x8000_0000);
const MEMATTR_NORMAL = 0xf << 2;
const MEMATTR_DEVICE = 0x1 << 2;
const RW = S2_LO.S2AP_R | S2_LO.S2AP_W;
const NORMAL = MEMATTR_NORMAL | S2_LO.SH_IS | S2_LO.AF;
const rwNotExecutable = new Attributes(NORMAL | RW, S2_HI.XN);

const of = (value: bigint): Descriptor =>
  new Descriptor(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
const anyDescriptor = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(of);
const anyHalf = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

const bitsOf = (half: Attributes): bigint => (BigInt(half.hi >>> 0) << 32n) | BigInt(half.lo >>> 0);

function predicatesOf(value: bigint): readonly boolean[] {
  const d = of(value);
  return [d.isValid(), d.isWritable(), d.isYoung(), !d.isExecutable()];
}

describe('a leaf', () => {
  test.each([
    ['page RW, not executable', 3, new Attributes(NORMAL | RW, S2_HI.XN), 0x0040_0000_8000_07ffn],
    [
      'page RO, not executable',
      3,
      new Attributes(NORMAL | S2_LO.S2AP_R, S2_HI.XN),
      0x0040_0000_8000_077fn,
    ],
    ['page RW, executable', 3, new Attributes(NORMAL | RW, 0), 0x0000_0000_8000_07ffn],
    ['2M block RW', 2, new Attributes(NORMAL | RW, S2_HI.XN), 0x0040_0000_8000_07fdn],
    ['1G block RW', 1, new Attributes(NORMAL | RW, S2_HI.XN), 0x0040_0000_8000_07fdn],
    [
      'page with AF clear',
      3,
      new Attributes(MEMATTR_NORMAL | S2_LO.SH_IS | RW, S2_HI.XN),
      0x0040_0000_8000_03ffn,
    ],
    [
      'device page RW',
      3,
      new Attributes(MEMATTR_DEVICE | S2_LO.SH_IS | S2_LO.AF | RW, S2_HI.XN),
      0x0040_0000_8000_07c7n,
    ],
  ] as const)('%s has its published bits', (_what, level, attributes, bits) => {
    expect(Descriptor.leaf(GEOMETRY_4K, PA, level, attributes).toBigInt()).toBe(bits);
  });

  test.each([
    [0x1_0000_0000, 0x0040_0001_0000_07ffn],
    [0xf_8000_1000, 0x0040_000f_8000_17ffn],
    [0xffff_ffff_f000, 0x0040_ffff_ffff_f7ffn],
  ])('keeps address %d in both halves', (address, bits) => {
    const leaf = Descriptor.leaf(GEOMETRY_4K, phys(address), 3, rwNotExecutable);
    expect(leaf.toBigInt()).toBe(bits);
    expect(leaf.address(GEOMETRY_4K)).toBe(address);
    expect(leaf.invalidated().address(GEOMETRY_4K)).toBe(address);
  });
});

test('a table pointer is valid, table and address, nothing else', () => {
  expect(Descriptor.table(GEOMETRY_4K, PA).toBigInt()).toBe(0x8000_0003n);
  expect(Descriptor.table(GEOMETRY_4K, phys(0x10_0000_1000)).toBigInt()).toBe(0x10_0000_1003n);
  expect(Descriptor.table(GEOMETRY_4K, phys(0x10_8000_1000)).address(GEOMETRY_4K)).toBe(
    0x10_8000_1000,
  );
});

describe('predicates', () => {
  test.each([0, 1, 2, 3] as const)('tell a table at level %d', (level) => {
    const isTable = level < 3;
    expect(of(0x8000_0003n).isTable(level)).toBe(isTable);
    // A block, and entries that are not valid.
    expect([0x8000_0001n, 0x8000_0002n, 0n].map((v) => of(v).isTable(level))).toEqual([
      false,
      false,
      false,
    ]);
  });

  test('read one bit each', () => {
    const bits = Array.from({ length: 64 }, (_, i) => BigInt(i));
    const found = bits.flatMap((bit) =>
      predicatesOf(1n << bit).flatMap((is, which) => (is ? [[bit, which]] : [])),
    );
    expect(found).toEqual([
      [0n, 0],
      [7n, 1],
      [10n, 2],
      [54n, 3],
    ]);
  });

  test('memory attributes are bits 5:2, and no others', () => {
    const values = [0xf, 0x1, 0x5, 0x0, 0x6].map((memAttr) =>
      new Descriptor((memAttr << 2) | ~0x3c, -1).memAttr(),
    );
    expect(values).toEqual([0xf, 0x1, 0x5, 0x0, 0x6]);
  });

  test('equal descriptors are equal in both halves', () => {
    const one = new Descriptor(1, 2);
    expect(one.equals(new Descriptor(1, 2))).toBe(true);
    expect(one.equals(new Descriptor(0, 2))).toBe(false);
    expect(one.equals(new Descriptor(1, 0))).toBe(false);
  });
});

describe('attribute edits', () => {
  test('are confined to bits 11:2 and 63:51', () => {
    const all = new Attributes(-1, -1);
    expect([all.lo, all.hi]).toEqual([0xffc, -0x8_0000]);
    expect(EMPTY.withAttributes(all, NO_ATTRIBUTES).toBigInt()).toBe(0xfff8_0000_0000_0ffcn);
  });

  test('set after they clear, bit by bit', () => {
    fc.assert(
      fc.property(anyDescriptor, anyHalf, anyHalf, anyHalf, anyHalf, (before, a, b, c, d) => {
        const set = new Attributes(a, b);
        const clear = new Attributes(c, d);
        const after = before.withAttributes(set, clear);
        expect(after.toBigInt()).toBe((before.toBigInt() & ~bitsOf(clear)) | bitsOf(set));
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  test('never change valid, type or address', () => {
    const fixed = 0x0007_ffff_ffff_f003n;
    fc.assert(
      fc.property(anyDescriptor, anyHalf, anyHalf, anyHalf, anyHalf, (before, a, b, c, d) => {
        const after = before.withAttributes(new Attributes(a, b), new Attributes(c, d));
        expect(after.toBigInt() & fixed).toBe(before.toBigInt() & fixed);
        expect(after.address(GEOMETRY_4K)).toBe(before.address(GEOMETRY_4K));
        expect(after.isValid()).toBe(before.isValid());
      }),
      { seed: 4, numRuns: 300 },
    );
  });
});

test('invalidation clears the valid bit alone', () => {
  fc.assert(
    fc.property(anyDescriptor, (d) => {
      expect(d.invalidated().toBigInt()).toBe(d.toBigInt() & ~1n);
    }),
    { seed: 5, numRuns: 200 },
  );
});

describe('what a leaf says beside its address', () => {
  test.each([
    ['4K', new Geometry(12), 0xffff_8000_0000],
    ['16K', new Geometry(14), 0xffff_8000_0000],
    ['64K, bits of the address folded', new Geometry(16), 0xf_abcd_8000_0000],
    ['4K with LPA2, two of them in the place of SH', new Geometry(12, true), 0xf_abcd_8000_0000],
    ['16K with LPA2', new Geometry(14, true), 0xf_abcd_8000_0000],
  ] as const)('makes the same leaf elsewhere: %s', (_what, geometry, pa) => {
    const shareability = geometry.lpa2 ? 0 : S2_LO.SH_IS;
    const from = new Attributes(
      MEMATTR_NORMAL | shareability | RW | S2_LO.AF,
      S2_HI.XN | S2_HI.SW_MASK,
    );
    const attributes = Descriptor.leaf(geometry, phys(pa), 2, from).attributes(geometry);
    expect([attributes.lo, attributes.hi]).toEqual([from.lo, from.hi]);
  });
});

test('two entries are equal but for some bits', () => {
  fc.assert(
    fc.property(anyDescriptor, fc.integer({ min: 0, max: 63 }), (d, bit) => {
      const other = of(d.toBigInt() ^ (1n << BigInt(bit)));
      expect(d.equalsBut(other, PERMISSIONS)).toBe([6, 7, 53, 54].includes(bit));
      expect(d.equalsBut(other, NO_ATTRIBUTES)).toBe(false);
      expect(d.equalsBut(d, NO_ATTRIBUTES)).toBe(true);
    }),
    { seed: 8, numRuns: 300 },
  );
});

test('an entry is swapped by one operation, if it is what was expected', () => {
  const machine = new TinyMachine();
  const at = machine.tableZone.contents + 8;
  const [one, two] = [of(0x0040_0000_8000_07ffn), of(0x400n)];
  expect(drive(tryStoreDescriptor(at, EMPTY, one))).toBe(true);
  expect(drive(tryStoreDescriptor(at, EMPTY, two))).toBe(false);
  expect(drive(tryStoreDescriptor(at, new Descriptor(one.lo, 0), two))).toBe(false);
  expect(drive(loadDescriptor(at)).equals(one)).toBe(true);
  const seen = machine.alone(function* () {
    yield* tryStoreDescriptor(at, one, two);
  });
  expect(seen).toEqual([
    { agent: 0, kind: EventKind.cas64, at, lo: two.lo, hi: two.hi, extra: Order.full },
  ]);
});

describe('the canonical form', () => {
  const table = Descriptor.table(GEOMETRY_4K, phys(0x10_0000_1000));

  test.each([0, 1, 2] as const)('of a table at level %d has no address', (level: Level) => {
    expect(table.canonical(level).toBigInt()).toBe(3n);
  });

  test('of a leaf is the leaf', () => {
    const block = Descriptor.leaf(GEOMETRY_4K, PA, 2, rwNotExecutable);
    expect(block.canonical(2).toBigInt()).toBe(block.toBigInt());
    // What would be a table above is a page here.
    expect(table.canonical(3).toBigInt()).toBe(table.toBigInt());
  });

  test('of an invalid entry is empty, stale or not', () => {
    expect(table.invalidated().canonical(1).toBigInt()).toBe(0n);
    expect(EMPTY.canonical(3).toBigInt()).toBe(0n);
  });
});

test('an entry is stored and loaded by one 64-bit operation with its label', () => {
  const machine = new TinyMachine();
  const at = machine.tableZone.contents + 8;
  const leaf = Descriptor.leaf(GEOMETRY_4K, phys(0xffff_8000_1000), 3, rwNotExecutable);
  const seen = machine.alone(function* () {
    yield* storeDescriptor(at, leaf, Order.release);
    expect((yield* loadDescriptor(at)).equals(leaf)).toBe(true);
  });
  expect(seen).toEqual([
    { agent: 0, kind: EventKind.store64, at, lo: leaf.lo, hi: leaf.hi, extra: Order.release },
    { agent: 0, kind: EventKind.load64, at, lo: leaf.lo, hi: leaf.hi, extra: Order.once },
  ]);
  expect(drive(loadDescriptor(at)).toBigInt()).toBe(0x0040_ffff_8000_17ffn);
  expect(drive(loadDescriptor(at + 8)).equals(EMPTY)).toBe(true);
});
