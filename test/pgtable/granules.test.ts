/** The library over every granule: the same code, other geometry. Read back by a decoder of the test's own. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { FrameZone } from '../../src/machine/frames.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Destroy, stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { TinyMachine, configOf, must } from '../support/tiny-machine.ts';
import { LimitedCache, RW, RecordingOps } from './helpers.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Page shift, bytes of a block at each level (0: KVM makes none), bits of IPA that the tests use. */
const GRANULES = [
  { name: '4K', shift: 12, blocks: [0, GIB, 2 * MIB], ipaBits: 40 },
  { name: '16K', shift: 14, blocks: [0, 0, 32 * MIB], ipaBits: 42 },
  { name: '64K', shift: 16, blocks: [0, 0, 512 * MIB], ipaBits: 48 },
] as const;
type Granule = (typeof GRANULES)[number];

interface Found {
  readonly addr: number;
  readonly level: number;
  readonly oa: number;
}

class GranuleTable {
  readonly page: number;
  readonly pgt: Stage2Pgtable;
  readonly zone: FrameZone;
  readonly ops: RecordingOps;
  readonly #machine: TinyMachine;
  readonly #cache: LimitedCache;
  readonly #shift: number;

  constructor({ shift, ipaBits }: { readonly shift: number; readonly ipaBits: number }) {
    this.#shift = shift;
    this.page = 2 ** shift;
    this.#machine = new TinyMachine({ tableFrames: 32, tableBytes: this.page });
    this.zone = this.#machine.main.memory.tables;
    this.ops = new RecordingOps(this.zone);
    const geometry = new Geometry(shift);
    this.pgt = drive(stage2Init(configOf(ipaBits, geometry), this.ops));
    this.#cache = new LimitedCache(this.zone, Infinity);
  }

  map(ipa: number, size: number, phys: number): Outcome {
    const { pgt } = this;
    return drive(stage2Map(pgt, { ipa, size, phys: phys as Phys, prot: RW, cache: this.#cache }));
  }

  unmap(ipa: number, size: number): Outcome {
    return drive(stage2Unmap(this.pgt, ipa, size));
  }

  /** Bytes of an entry: `shift(L) = (4 - L) * (P - 3) + 3`. */
  sizeOf(level: number): number {
    return 2 ** ((4 - level) * (this.#shift - 3) + 3);
  }

  /** Every leaf in ascending order; checks the reference count of each table page on the way. */
  leaves(): Found[] {
    const found: Found[] = [];
    const scan = (table: number, level: number, base: number): void => {
      let valid = 0;
      for (let index = 0; index < this.page / 8; index++) {
        const at = this.zone.wordOf(table as Phys) + index * 8;
        const lo = this.#machine.word(at);
        if ((lo & 1) === 0) continue;
        valid++;
        const high = this.#machine.word(at + 4) & 0xffff;
        const oa = high * 2 ** 32 + ((lo >>> 0) - ((lo >>> 0) % 4096));
        const addr = base + index * this.sizeOf(level);
        if (level < 3 && (lo & 2) !== 0) scan(oa, level + 1, addr);
        else found.push({ addr, level, oa });
      }
      const count = drive(this.zone.count(table as Phys));
      must(count === 1 + valid, `${count} references, ${valid} entries`);
    };
    const { pgd, pgdPages, startLevel } = this.pgt;
    const reach = this.sizeOf(startLevel) * (this.page / 8);
    for (let i = 0; i < pgdPages; i++) scan(pgd + i * this.page, startLevel, i * reach);
    return found;
  }

  pagesInUse(): number {
    const { used, free } = this.zone.accounts();
    return used - free;
  }
}

describe.each(GRANULES)('$name', (granule) => {
  const { blocks, shift, ipaBits } = granule;
  const block = blocks[2];
  const page = 2 ** shift;

  test('a range becomes the largest leaves that fit', () => {
    const table = new GranuleTable(granule);
    const ipa = 4 * block - page;
    expect(table.map(ipa, block + 2 * page, 8 * block - page)).toBe('ok');
    expect(table.leaves()).toEqual([
      { addr: ipa, level: 3, oa: 8 * block - page },
      { addr: 4 * block, level: 2, oa: 8 * block },
      { addr: 5 * block, level: 3, oa: 9 * block },
    ]);
  });

  test('the largest block is that of the lowest level that KVM uses', () => {
    const table = new GranuleTable(granule);
    const top = blocks[1] === 0 ? 2 : 1;
    const bytes = blocks[top];
    expect(table.map(bytes, 2 * bytes, 16 * bytes)).toBe('ok');
    expect(table.leaves()).toEqual([
      { addr: bytes, level: top, oa: 16 * bytes },
      { addr: 2 * bytes, level: top, oa: 17 * bytes },
    ]);
  });

  test('the last page of the IPA space is mapped in the last root page', () => {
    const table = new GranuleTable(granule);
    const last = 2 ** ipaBits - page;
    expect(table.map(last, page, page)).toBe('ok');
    expect(table.leaves()).toEqual([{ addr: last, level: 3, oa: page }]);
    expect(table.map(last, 2 * page, page)).toBe('outOfRange');
  });

  test('TLBI hints name the level of the leaf; a removed table has none', () => {
    const table = new GranuleTable(granule);
    table.map(block, block, block);
    table.map(3 * block, page, block);
    table.ops.log.length = 0;
    table.unmap(block, block);
    table.unmap(3 * block, page);
    const hints = table.ops.log.filter((line) => line.startsWith('tlbi'));
    expect(hints.map((line) => line.slice(line.indexOf('hint')))).toEqual([
      'hint 2',
      'hint 3',
      'hint 0',
      'hint 0',
    ]);
    expect(table.pagesInUse()).toBe(table.pgt.pgdPages);
  });

  test('holds what a model of pages holds, and returns every page', () => {
    fc.assert(
      fc.property(fc.array(stepOf(granule), { minLength: 1, maxLength: 8 }), (steps) => {
        const table = new GranuleTable(granule);
        const model = new Map<number, number>();
        for (const step of steps) run(table, model, step);
        expect(pagesOf(table)).toEqual([...model].toSorted(([a], [b]) => a - b));
        drive(stage2Destroy(table.pgt));
        expect(table.pagesInUse()).toBe(0);
      }),
      { seed: 11, numRuns: 15 },
    );
  });
});

interface Step {
  readonly what: 'map' | 'unmap';
  readonly ipa: number;
  readonly pages: number;
  /** Pages between IPA and address: 0 lets blocks be used. */
  readonly off: number;
}

/** Pages around the first border of two blocks. */
function stepOf({ shift, blocks }: Granule): fc.Arbitrary<Step> {
  const page = 2 ** shift;
  return fc.record({
    what: fc.constantFrom<Step['what']>('map', 'map', 'unmap'),
    ipa: fc.integer({ min: -8, max: 8 }).map((i) => blocks[2] + i * page),
    pages: fc.integer({ min: 1, max: 12 }),
    off: fc.constantFrom(0, 1),
  });
}

function run(table: GranuleTable, model: Map<number, number>, step: Step): void {
  const { page } = table;
  const size = step.pages * page;
  const phys = step.ipa + step.off * page;
  must(
    (step.what === 'map' ? table.map(step.ipa, size, phys) : table.unmap(step.ipa, size)) === 'ok',
    'not ok',
  );
  for (let i = 0; i < step.pages; i++) {
    if (step.what === 'map') model.set(step.ipa + i * page, phys + i * page);
    else model.delete(step.ipa + i * page);
  }
}

function pagesOf(table: GranuleTable): [number, number][] {
  return table.leaves().map(({ addr, level, oa }) => {
    must(level === 3, 'a block of so few pages');
    return [addr, oa];
  });
}
