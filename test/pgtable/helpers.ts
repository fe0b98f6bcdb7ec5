/** A stage-2 table over real frames, with operations that are recorded, and a reader of its own for what the table holds. */
import { EventKind } from '../../src/engine/events.ts';
import { barrier, Barrier, drive, Order, type Op, type Word } from '../../src/engine/explore.ts';
import type { Level, Phys } from '../../src/machine/address.ts';
import { ARMV8_0, type MachineFeatures } from '../../src/machine/features.ts';
import { FRAME_BYTES, type FrameZone } from '../../src/machine/frames.ts';
import { GEOMETRY_4K, LAST_LEVEL, type Geometry } from '../../src/machine/geometry.ts';
import type { LevelHint, MmOps, TableCache } from '../../src/pgtable/mm-ops.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import { stage2FreeUnlinked } from '../../src/pgtable/parallel/unlinked.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2Config, stage2Init } from '../../src/pgtable/stage2-init.ts';
import { stage2Map } from '../../src/pgtable/stage2-map.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { TinyMachine, must } from '../support/tiny-machine.ts';

export const RW: number = Prot.r | Prot.w;
export const RO: number = Prot.r;
export const PAGE = 0x1000;
export const M2 = 0x20_0000;
export const G1 = 0x4000_0000;

const hex = (value: number): string => value.toString(16);

/** Frames of the zone, and a log of everything else that was asked for. */
export class RecordingOps implements MmOps {
  readonly log: string[] = [];
  /** Called at each TLBI, and when a table is given away, before that is logged: what the table is like at that moment. */
  onFlush: (ipa: number) => string = () => '';
  hasRangeTlbi = false;
  readonly geometry: Geometry;
  readonly #zone: FrameZone;

  constructor(zone: FrameZone, geometry: Geometry = GEOMETRY_4K) {
    this.#zone = zone;
    this.geometry = geometry;
  }

  wordOf(address: Phys): Word {
    return this.#zone.wordOf(address);
  }

  *getPage(at: Word): Op<void> {
    yield* this.#zone.getAt(at);
  }

  *putPage(at: Word): Op<void> {
    yield* this.#zone.putAt(at);
  }

  *pageCount(at: Word): Op<number> {
    return yield* this.#zone.countAt(at);
  }

  *zallocPagesExact(count: number): Op<Phys> {
    return yield* this.#zone.zallocContiguous(count);
  }

  *freePagesExact(first: Phys, count: number): Op<void> {
    for (let i = 0; i < count; i++) {
      const page = (first + i * this.#zone.layout.frameBytes) as Phys;
      must(yield* this.#zone.put(page), 'root page still counted');
    }
  }

  *tlbFlushIpa(ipa: number, level: LevelHint): Op<void> {
    this.log.push(`tlbi ${hex(ipa)} hint ${level}${this.onFlush(ipa)}`);
    yield* barrier(Barrier.dsbIsh);
  }

  *tlbFlushVmid(): Op<void> {
    this.log.push(`tlbi vmid${this.onFlush(-1)}`);
    yield* barrier(Barrier.dsbIsh);
  }

  *freeUnlinkedTable(table: Word, level: Level): Op<void> {
    this.log.push(`unlinked level ${level}${this.onFlush(-1)}`);
    const { geometry } = this;
    yield* stage2FreeUnlinked({ geometry, ops: this }, table, level);
  }

  *tlbFlushIpaLocal(ipa: number, level: LevelHint): Op<void> {
    this.log.push(`local tlbi ${hex(ipa)} hint ${level}`);
    yield* barrier(Barrier.dsbNsh);
  }

  *tlbFlushRange(ipa: number, bytes: number): Op<void> {
    this.log.push(`tlbi range ${hex(ipa)} ${hex(bytes)}${this.onFlush(ipa)}`);
    yield* barrier(Barrier.dsbIsh);
  }

  *publishEntries(): Op<void> {
    this.log.push('publish');
    yield* barrier(Barrier.dsbIshst);
  }

  *dcacheCleanInvalidate(address: Phys, bytes: number): Op<void> {
    this.log.push(`clean ${hex(address)} ${hex(bytes)}`);
    yield* barrier(Barrier.dmb);
  }

  *icacheInvalidate(address: Phys, bytes: number): Op<void> {
    this.log.push(`icache ${hex(address)} ${hex(bytes)}`);
    yield* barrier(Barrier.dmb);
  }

  // oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
  *rcuReadLock(): Op<boolean> {
    this.log.push('shared');
    return true;
  }

  // oxlint-disable-next-line require-yield -- as above.
  *rcuReadUnlock(): Op<void> {
    this.log.push('no longer shared');
  }

  /** Locked entries that shared walks met. */
  readonly met: Word[] = [];

  metLocked(entry: Word): void {
    this.met.push(entry);
  }

  walkBegin(): void {
    this.log.push('begin');
  }

  walkEnd(): void {
    this.log.push('end');
  }
}

/** A cache of at most `pages` pages, which counts what was taken. */
export class LimitedCache implements TableCache {
  readonly #zone: FrameZone;
  readonly #pages: number;
  taken = 0;

  constructor(zone: FrameZone, pages: number) {
    this.#zone = zone;
    this.#pages = pages;
  }

  get pages(): number {
    return this.#pages - this.taken;
  }

  *alloc(): Op<Phys> {
    if (this.taken === this.#pages) return 0 as Phys;
    this.taken++;
    return yield* this.#zone.zalloc();
  }
}

/** A valid leaf as it stands in the table. */
export interface Leaf {
  readonly addr: number;
  readonly level: number;
  readonly value: bigint;
}

/** What a table holds: leaves in order, and for each table page the valid entries in it. */
export interface Contents {
  readonly leaves: readonly Leaf[];
  readonly counted: ReadonlyMap<number, number>;
}

export interface TableOptions {
  readonly features?: Partial<MachineFeatures>;
  readonly ipaBits?: number;
  readonly tableFrames?: number;
  readonly cachePages?: number;
}

export class TestTable {
  readonly machine: TinyMachine;
  readonly zone: FrameZone;
  readonly ops: RecordingOps;
  readonly pgt: Stage2Pgtable;
  readonly cache: LimitedCache;

  constructor(options: TableOptions = {}) {
    const { ipaBits = 40, tableFrames = 24, cachePages = tableFrames } = options;
    const features = { ...ARMV8_0, ...options.features };
    this.machine = new TinyMachine({ tableFrames });
    this.zone = this.machine.main.memory.tables;
    this.ops = new RecordingOps(this.zone);
    this.pgt = drive(stage2Init(stage2Config(GEOMETRY_4K, ipaBits, features), this.ops));
    this.cache = new LimitedCache(this.zone, cachePages);
    this.ops.log.length = 0;
  }

  map(ipa: number, size: number, phys: number, prot: number = RW): Outcome {
    return drive(stage2Map(this.pgt, { ipa, size, phys: phys as Phys, prot, cache: this.cache }));
  }

  unmap(ipa: number, size: number): Outcome {
    return drive(stage2Unmap(this.pgt, ipa, size));
  }

  /** The log since the last call, walks left out. */
  logged(): string[] {
    return this.ops.log.splice(0).filter((line) => line !== 'begin' && line !== 'end');
  }

  /** Writes a leaf by hand. */
  plant(addr: number, level: Level, value: bigint): void {
    this.machine.plant(this.pgt.pgd, this.pgt.startLevel, addr, level, value);
  }

  /** The terminal entry for `addr`: its level and value, valid or not. */
  lookup(addr: number): { readonly level: number; readonly value: bigint } {
    let table: number = this.pgt.pgd;
    for (let level: number = this.pgt.startLevel; ; level++) {
      const number = BigInt(addr) >> BigInt(12 + 9 * (3 - level));
      const index = Number(level === this.pgt.startLevel ? number : number & 511n);
      const value = this.machine.entry(table, index);
      if (level === LAST_LEVEL || (value & 3n) !== 3n) return { level, value };
      table = Number(value & 0xffff_ffff_f000n);
    }
  }

  contents(): Contents {
    const leaves: Leaf[] = [];
    const counted = new Map<number, number>();
    const scan = (table: number, level: number, base: number): void => {
      const size = 2 ** (12 + 9 * (3 - level));
      const first = this.zone.wordOf(table as Phys);
      let valid = 0;
      for (let index = 0; index < 512; index++) {
        if ((this.machine.word(first + index * 8) & 1) === 0) continue;
        valid++;
        const value = this.machine.entry(table, index);
        const addr = base + index * size;
        if (level < 3 && (value & 2n) !== 0n) {
          scan(Number(value & 0xffff_ffff_f000n), level + 1, addr);
        } else leaves.push({ addr, level, value });
      }
      counted.set(table, valid);
    };
    const { pgd, pgdPages, startLevel } = this.pgt;
    const reach = 2 ** (12 + 9 * (4 - startLevel));
    for (let page = 0; page < pgdPages; page++) {
      scan(pgd + page * FRAME_BYTES, startLevel, page * reach);
    }
    return { leaves, counted };
  }

  /** The stores to table entries that `op` makes: whether a release, and the value. */
  storesOf(op: () => Op<unknown>): { readonly isRelease: boolean; readonly value: bigint }[] {
    const { contents, frames } = this.zone.layout;
    const seen = this.machine.alone(function* () {
      yield* op();
    });
    return seen
      .filter((e) => e.kind === EventKind.store64)
      .filter((e) => e.at >= contents && e.at < contents + frames * FRAME_BYTES)
      .map((e) => ({
        isRelease: e.extra === Order.release,
        value: (BigInt(e.hi >>> 0) << 32n) | BigInt(e.lo >>> 0),
      }));
  }

  /** Leaves as words: `level address -> physical address`, and what is allowed. */
  leaves(): string[] {
    return this.contents().leaves.map(({ addr, level, value }) => {
      const allowed = [
        (value & 0x40n) === 0n ? '-' : 'r',
        (value & 0x80n) === 0n ? '-' : 'w',
        (value >> 54n) & 1n ? '-' : 'x',
      ].join('');
      return `${level} ${hex(addr)} -> ${hex(Number(value & 0xffff_ffff_f000n))} ${allowed}`;
    });
  }

  /**
   * The invariants of section 4.0: each page of the table has one reference and one per valid entry, and no page is lost. Gives the
   * pages of the table, the root included.
   */
  checkPages(): number {
    const { counted } = this.contents();
    for (const [page, valid] of counted) {
      const count = drive(this.zone.count(page as Phys));
      must(count === 1 + valid, `page ${hex(page)}: ${count} references, ${valid} valid entries`);
    }
    const { used, free } = this.zone.accounts();
    must(used - free === counted.size, `${used - free} pages in use, ${counted.size} in the table`);
    return counted.size;
  }

  /** References of the root page that holds the entry of `addr`, then of each table below on the way there. */
  counts(addr: number): number[] {
    const found: number[] = [];
    let level: number = this.pgt.startLevel;
    const perPage = 2 ** (12 + 9 * (4 - level));
    let table: number = this.pgt.pgd + Math.floor(addr / perPage) * FRAME_BYTES;
    for (; ; level++) {
      found.push(drive(this.zone.count(table as Phys)));
      const index = Number((BigInt(addr) >> BigInt(12 + 9 * (3 - level))) & 511n);
      const value = this.machine.entry(table, index);
      if (level === LAST_LEVEL || (value & 3n) !== 3n) return found;
      table = Number(value & 0xffff_ffff_f000n);
    }
  }
}
