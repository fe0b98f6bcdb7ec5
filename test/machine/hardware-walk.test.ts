import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { ipa, phys, type Level, type Phys, type Vmid } from '../../src/machine/address.ts';
import { Geometry, GEOMETRY_4K } from '../../src/machine/geometry.ts';
import {
  HardwareWalker,
  stage2Regime,
  type Stage2Regime,
  type WalkResult,
} from '../../src/machine/hardware-walk.ts';
import { TranslationArray } from '../../src/machine/translation-array.ts';
import { encodeVttbr } from '../../src/machine/vtcr.ts';
import { TinyMachine, configOf, descriptorLoads } from '../support/tiny-machine.ts';

/** RW, not executable, young, at PA 0x9_8000_0000. */
const PAGE = 0x0040_0009_8000_07ffn;
const BLOCK = 0x0040_0009_8000_07fdn;
const AF = 1n << 10n;
const VMID = 3 as Vmid;
/** 4K, 48 bits of address. */
const PLAIN = { vmid: VMID, highBits: 'none', blockLevelMin: 1 } as const;

class Bench {
  readonly machine = new TinyMachine({ tableFrames: 24 });
  readonly regime: Stage2Regime;
  readonly walker: HardwareWalker;
  readonly walkCache: TranslationArray;

  constructor(ipaBits: number, startLevel: Level, rootPages: number) {
    const { memory } = this.machine.main;
    const root = drive(memory.tables.zallocContiguous(rootPages));
    this.regime = { ...PLAIN, root, ipaLimit: 2 ** ipaBits, startLevel };
    // Over guest memory that nothing else uses here.
    this.walkCache = new TranslationArray(this.machine.guestZone.contents, 16, GEOMETRY_4K);
    this.walker = new HardwareWalker(memory, GEOMETRY_4K, this.walkCache);
  }

  plant(address: number, level: Level, value: bigint): void {
    this.machine.plant(this.regime.root, this.regime.startLevel, address, level, value);
  }

  /** Result, level and descriptor of a walk, and the entries it loaded. */
  walk(
    address: number,
    regime: Stage2Regime = this.regime,
  ): { result: WalkResult; level: number; loads: number; value: bigint } {
    let result: WalkResult = 'leaf';
    const { walker } = this;
    const seen = this.machine.alone(function* () {
      result = yield* walker.walk(ipa(address), regime);
    });
    const value = (BigInt(walker.hi >>> 0) << 32n) | BigInt(walker.lo >>> 0);
    const loads = descriptorLoads(this.machine, seen);
    return { result, level: walker.level, loads, value };
  }
}

const bench40 = (): Bench => new Bench(40, 1, 2);

describe('a leaf', () => {
  test.each([
    ['page', 3, PAGE, 3],
    ['2M block', 2, BLOCK, 2],
    ['1G block', 1, BLOCK, 1],
  ] as const)('%s is found, one load a level', (_what, level, value, loads) => {
    const bench = bench40();
    bench.plant(0x4020_3000, level, value);
    expect(bench.walk(0x4020_3abc)).toEqual({ result: 'leaf', level, loads, value });
  });

  test.each([
    ['page', 3, PAGE],
    ['2M block', 2, BLOCK],
    ['1G block', 1, BLOCK],
  ] as const)('%s with AF clear is a fault at its level', (_what, level, value) => {
    const bench = bench40();
    bench.plant(0x4020_3000, level, value & ~AF);
    expect(bench.walk(0x4020_3000)).toMatchObject({ result: 'accessFlag', level });
  });
});

describe('no leaf', () => {
  test.each([1, 2, 3] as const)('an invalid entry ends the walk at level %d', (level) => {
    const bench = bench40();
    // Everything but the valid bit.
    bench.plant(0x4020_3000, level, PAGE & ~1n);
    expect(bench.walk(0x4020_3000)).toMatchObject({ result: 'translation', level, loads: level });
  });

  test('an entry of level 3 without the type bit is none', () => {
    const bench = bench40();
    bench.plant(0x4020_3000, 3, BLOCK);
    expect(bench.walk(0x4020_3000)).toMatchObject({ result: 'translation', level: 3 });
  });

  test('level 0 has no blocks', () => {
    const bench = new Bench(48, 0, 1);
    bench.plant(0, 0, BLOCK);
    expect(bench.walk(0x4020_3000)).toMatchObject({ result: 'translation', level: 0, loads: 1 });
  });

  test('an address beyond the input size faults at level 0, without a load', () => {
    const bench = bench40();
    bench.plant(2 ** 40 - 4096, 3, PAGE);
    expect(bench.walk(2 ** 40 - 1)).toMatchObject({ result: 'leaf', level: 3 });
    expect(bench.walk(2 ** 40)).toMatchObject({ result: 'translation', level: 0, loads: 0 });
    expect(bench.walk(2 ** 47)).toMatchObject({ result: 'translation', level: 0, loads: 0 });
  });
});

describe('the root', () => {
  test.each([
    [40, 1, 2, 0xc0_4020_3000, 3],
    [32, 2, 4, 0xc020_3000, 2],
    [34, 2, 16, 0x3_ffff_f000, 2],
    [48, 0, 1, 0xff80_4020_3000, 4],
  ] as const)('for %d bits starts at level %d in %d pages', (bits, start, pages, at, loads) => {
    const bench = new Bench(bits, start, pages);
    bench.plant(at, 3, PAGE);
    expect(bench.walk(at)).toEqual({ result: 'leaf', level: 3, loads, value: PAGE });
    // The same index in the first page of the root is another address, if there are several pages.
    const other = at % (2 ** bits / pages);
    const none = { result: 'translation', level: start };
    expect(bench.walk(other)).toMatchObject(pages > 1 ? none : { result: 'leaf', level: 3 });
  });
});

describe('the walk cache', () => {
  test('spares the loads of tables already passed', () => {
    const bench = bench40();
    bench.plant(0x4060_3000, 3, PAGE);
    bench.plant(0x4060_4000, 3, PAGE);
    bench.plant(0x4080_0000, 3, PAGE);
    const loads = [0x4060_3000, 0x4060_3000, 0x4060_4000, 0x4080_0000, 0x4080_0000].map(
      (address) => bench.walk(address).loads,
    );
    expect(loads).toEqual([3, 1, 1, 2, 1]);
  });

  test('holds tables by the level of their entry, never a leaf', () => {
    const bench = bench40();
    bench.plant(0x4060_3000, 3, PAGE);
    bench.walk(0x4060_3000);
    const cached: number[][] = [];
    bench.walkCache.forEach((address, level, vmid, lo) =>
      cached.push([address, level, vmid, lo & 3]),
    );
    expect(cached.toSorted(([a = 0], [b = 0]) => a - b)).toEqual([
      [0x4000_0000, 1, VMID, 3],
      [0x4060_0000, 2, VMID, 3],
    ]);
  });

  test('is not used by another VMID', () => {
    const bench = bench40();
    bench.plant(0x4060_3000, 3, PAGE);
    bench.walk(0x4060_3000);
    const regime = { ...bench.regime, vmid: 4 as Vmid };
    expect(bench.walk(0x4060_3000, regime).loads).toBe(3);
  });

  test('still leads to a table that is no longer in place', () => {
    const bench = bench40();
    bench.plant(0x4060_3000, 3, PAGE);
    bench.walk(0x4060_3000);
    bench.plant(0x4060_0000, 1, 0n);
    expect(bench.walk(0x4060_3000)).toMatchObject({ result: 'leaf', loads: 1 });
  });

  test('ends a walk at the level of the entry loaded, not of the root', () => {
    const bench = bench40();
    bench.plant(0x4060_3000, 3, PAGE);
    bench.walk(0x4060_3000);
    expect(bench.walk(0x4060_4000)).toMatchObject({ result: 'translation', level: 3, loads: 1 });
  });
});

test('a table above 4 GiB with bit 31 set is followed', () => {
  const machine = new TinyMachine();
  const base = 0x1f_8000_0000;
  const zone = machine.main.memory.tables;
  // The zone's own address is what descriptors name: take one whose halves are awkward.
  const moved = { ...machine.tableZone, base: phys(base) };
  const asked: number[] = [];
  const memory = {
    wordOf: (at: Phys) => {
      asked.push(at - base);
      return moved.contents + (at - base);
    },
  };
  drive(zone.zallocContiguous(4));
  const words = machine.memory.words;
  const put = (page: number, index: number, value: bigint): void => {
    const at = (moved.contents + page * 4096 + index * 8) >>> 2;
    words[at] = Number(BigInt.asIntN(32, value));
    words[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
  };
  put(0, 1, BigInt(base + 0x2000) | 3n);
  put(2, 1, BigInt(base + 0x3000) | 3n);
  put(3, 3, PAGE);
  const cache = new TranslationArray(machine.guestZone.contents, 16, GEOMETRY_4K);
  const walker = new HardwareWalker(memory as never, GEOMETRY_4K, cache);
  const regime = { ...PLAIN, root: phys(base), ipaLimit: 2 ** 40, startLevel: 1 } as const;
  // Once by the root, once by the cached table.
  expect(drive(walker.walk(ipa(0x4020_3000), regime))).toBe('leaf');
  expect(drive(walker.walk(ipa(0x4020_3000), regime))).toBe('leaf');
  expect((BigInt(walker.hi >>> 0) << 32n) | BigInt(walker.lo >>> 0)).toBe(PAGE);
  // Entry 3 of pages 0, 2, 3; then of page 3 alone.
  expect(asked).toEqual([0x8, 0x2008, 0x3018, 0x3018]);
});

test.each([
  ['4K', 12, false, 40, { startLevel: 1, highBits: 'none', blockLevelMin: 1 }],
  ['4K, LPA2', 12, true, 52, { startLevel: 0, highBits: 'lpa2', blockLevelMin: 0 }],
  ['16K', 14, false, 40, { startLevel: 2, highBits: 'none', blockLevelMin: 2 }],
  ['16K, LPA2', 14, true, 52, { startLevel: 0, highBits: 'lpa2', blockLevelMin: 1 }],
  ['64K', 16, false, 52, { startLevel: 1, highBits: 'fold64K', blockLevelMin: 2 }],
] as const)('the registers configure a walk: %s', (_what, pageShift, lpa2, ipaBits, shape) => {
  const { vtcr } = configOf(ipaBits, new Geometry(pageShift, lpa2));
  const root = phys(0x1f_8000_0000);
  expect(stage2Regime({ vtcr, vttbr: encodeVttbr(root, VMID) })).toEqual({
    root,
    vmid: VMID,
    ipaLimit: 2 ** ipaBits,
    ...shape,
  });
});
