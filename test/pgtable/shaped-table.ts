/** A stage-2 table of any shape over real frames, and a reader of the test's own for what it holds. */
import fc from 'fast-check';
import { drive } from '../../src/engine/explore.ts';
import type { Level, Phys } from '../../src/machine/address.ts';
import { ARMV8_0 } from '../../src/machine/features.ts';
import type { FrameZone } from '../../src/machine/frames.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Config, stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { TinyMachine, must } from '../support/tiny-machine.ts';
import { LimitedCache, RecordingOps } from './helpers.ts';

const TABLE_FRAMES = 64;
/** Bytes below the limit of physical addresses where table pages are: room for all of them, aligned for any root. */
const TABLES_BYTES = 2 ** 24;

/** What decides how a table is built and what its entries look like. */
export interface TableShape {
  readonly pageShift: 12 | 14 | 16;
  readonly lpa2: boolean;
  readonly ipaBits: number;
  readonly fwb: boolean;
  readonly xnx: boolean;
}

/** Every granule and size that there is; LPA2 where it can be, FWB, two-bit XN. */
export const tableShapes: fc.Arbitrary<TableShape> = fc
  .record({
    pageShift: fc.constantFrom<TableShape['pageShift']>(12, 14, 16),
    wide: fc.boolean(),
    ipaBits: fc.integer({ min: 32, max: 52 }),
    fwb: fc.boolean(),
    xnx: fc.boolean(),
  })
  .map(({ wide, ...shape }) => {
    const lpa2 = wide && shape.pageShift !== 16;
    return { ...shape, lpa2, ipaBits: Math.min(shape.ipaBits, addressBits({ ...shape, lpa2 })) };
  });

/** Bits of an address that a descriptor holds. */
export function addressBits({ pageShift, lpa2 }: Pick<TableShape, 'pageShift' | 'lpa2'>): number {
  return lpa2 || pageShift === 16 ? 52 : 48;
}

/** Bytes of an entry: `shift(L) = (4 - L) * (P - 3) + 3`. */
export function sizeOf({ pageShift }: Pick<TableShape, 'pageShift'>, level: number): number {
  return 2 ** ((4 - level) * (pageShift - 3) + 3);
}

/** The level of the root: two levels at least, and no more than 16 pages in a row. */
function startLevelOf({ pageShift, ipaBits }: TableShape): number {
  return 4 - Math.max(2, Math.floor((ipaBits - 8) / (pageShift - 3)));
}

/** Levels at which the table can have leaves, the largest first. */
export function leafLevels(shape: TableShape): number[] {
  const first = Math.max(startLevelOf(shape), shape.pageShift === 12 ? 1 : 2);
  return [1, 2, 3].filter((level) => level >= first);
}

/** The address field of an entry: 47:P in place; with 64K 51:48 in 15:12; with LPA2 49:48 in place and 51:50 in 9:8. */
export function foldedAddress(shape: TableShape, address: number): bigint {
  const at = BigInt(address);
  if (shape.pageShift === 16) return (at & 0xffff_ffff_ffffn) | ((at >> 48n) << 12n);
  return shape.lpa2 ? (at & 0x3_ffff_ffff_ffffn) | ((at >> 50n) << 8n) : at;
}

export function unfoldedAddress(shape: TableShape, entry: bigint): number {
  const inPlace = entry & (shape.lpa2 ? 0x3_ffff_ffff_ffffn : 0xffff_ffff_ffffn);
  const low = (inPlace >> BigInt(shape.pageShift)) << BigInt(shape.pageShift);
  if (shape.pageShift === 16) return Number(low | (((entry >> 12n) & 0xfn) << 48n));
  return Number(shape.lpa2 ? low | (((entry >> 8n) & 3n) << 50n) : low);
}

/** A valid leaf as it stands in the table. */
export interface ShapedLeaf {
  readonly addr: number;
  readonly level: number;
  readonly value: bigint;
}

export class ShapedTable {
  readonly shape: TableShape;
  readonly machine: TinyMachine;
  readonly zone: FrameZone;
  readonly ops: RecordingOps;
  readonly pgt: Stage2Pgtable;
  readonly page: number;
  readonly #entries: number;
  readonly #cache: LimitedCache;

  constructor(shape: TableShape) {
    const { pageShift, lpa2, ipaBits, fwb, xnx } = shape;
    this.shape = shape;
    this.page = 2 ** pageShift;
    this.#entries = this.page / 8;
    const paBits = addressBits(shape);
    const tableBase = 2 ** paBits - TABLES_BYTES;
    const tableFrames = TABLE_FRAMES;
    this.machine = new TinyMachine({ tableFrames, tableBytes: this.page, tableBase });
    this.zone = this.machine.main.memory.tables;
    this.ops = new RecordingOps(this.zone);
    const config = stage2Config(new Geometry(pageShift, lpa2), ipaBits, {
      ...ARMV8_0,
      paBits,
      fwb,
      xnx,
    });
    this.pgt = drive(stage2Init(config, this.ops));
    must(this.pgt.startLevel === startLevelOf(shape), `a root at level ${this.pgt.startLevel}`);
    this.#cache = new LimitedCache(this.zone, Infinity);
    this.ops.log.length = 0;
  }

  map(ipa: number, size: number, phys: number, prot: number): Outcome {
    const cache = this.#cache;
    return drive(stage2Map(this.pgt, { ipa, size, phys: phys as Phys, prot, cache }));
  }

  /** Lines of the log since the last call that begin so. */
  logged(beginning: string): string[] {
    return this.ops.log.splice(0).filter((line) => line.startsWith(beginning));
  }

  /** The terminal entry for `addr`: its level and value, valid or not. */
  lookup(addr: number): { readonly level: number; readonly value: bigint } {
    for (let level = this.pgt.startLevel, table: number = this.pgt.pgd; ; level++) {
      const value = this.machine.entry(table, this.#indexOf(addr, level));
      if (level === 3 || (value & 3n) !== 3n) return { level, value };
      table = unfoldedAddress(this.shape, value);
    }
  }

  /** Stores a leaf, with the tables on the way, by hand; counts nothing. */
  plant({ addr, level, value }: ShapedLeaf): void {
    for (let at = this.pgt.startLevel, table: number = this.pgt.pgd; ; at++) {
      const index = this.#indexOf(addr, at);
      if (at === level) {
        this.machine.setEntry(table, index, value);
        return;
      }
      const entry = this.machine.entry(table, index);
      if ((entry & 3n) === 3n) table = unfoldedAddress(this.shape, entry);
      else {
        const child = drive(this.zone.zalloc());
        this.machine.setEntry(table, index, foldedAddress(this.shape, child) | 3n);
        table = child;
      }
    }
  }

  /**
   * All leaves in order. Checks section 4.0: each page of the table has one reference and one per valid entry, and no page is lost; and
   * that no table below the root is empty.
   */
  leaves(): ShapedLeaf[] {
    const found: ShapedLeaf[] = [];
    const tables: number[] = [];
    const { pgd, pgdPages, startLevel } = this.pgt;
    const reach = sizeOf(this.shape, startLevel) * this.#entries;
    for (let i = 0; i < pgdPages; i++) {
      this.#scan(pgd + i * this.page, startLevel, i * reach, found, tables);
    }
    must(this.used() === tables.length, `${this.used()} pages used, ${tables.length} found`);
    return found;
  }

  used(): number {
    const { used, free } = this.zone.accounts();
    return used - free;
  }

  #scan(table: number, level: number, base: number, found: ShapedLeaf[], tables: number[]): void {
    tables.push(table);
    const first = this.zone.wordOf(table as Phys);
    let valid = 0;
    for (let index = 0; index < this.#entries; index++) {
      if ((this.machine.word(first + index * 8) & 1) === 0) continue;
      valid++;
      const value = this.machine.entry(table, index);
      const addr = base + index * sizeOf(this.shape, level);
      if (level === 3 || (value & 2n) === 0n) found.push({ addr, level, value });
      else this.#scan(unfoldedAddress(this.shape, value), level + 1, addr, found, tables);
    }
    const count = drive(this.zone.count(table as Phys));
    must(count === 1 + valid, `${count} references, ${valid} valid entries`);
    must(valid > 0 || level === this.pgt.startLevel, `an empty table at level ${level}`);
  }

  /** Of a root of several pages: over all of them. */
  #indexOf(addr: number, level: Level): number {
    const number = Math.floor(addr / sizeOf(this.shape, level));
    return level === this.pgt.startLevel ? number : number % this.#entries;
  }
}
