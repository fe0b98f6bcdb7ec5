/** A table of any granule for the operations of 6.12, agents with views of their own, and a reader for what the table holds. */
import { EventKind } from '../../../src/engine/events.ts';
import { drive, type Op, type Word } from '../../../src/engine/explore.ts';
import type { Level, Phys } from '../../../src/machine/address.ts';
import { ARMV8_0, type MachineFeatures } from '../../../src/machine/features.ts';
import type { FrameZone } from '../../../src/machine/frames.ts';
import { Geometry } from '../../../src/machine/geometry.ts';
import type { Outcome } from '../../../src/pgtable/outcome.ts';
import { stage2Map } from '../../../src/pgtable/parallel/map.ts';
import { stage2FreeUnlinked } from '../../../src/pgtable/parallel/unlinked.ts';
import { stage2Unmap } from '../../../src/pgtable/parallel/unmap.ts';
import type { Stage2Pgtable } from '../../../src/pgtable/pgtable.ts';
import { stage2Config, stage2Init } from '../../../src/pgtable/stage2-init.ts';
import { WalkFlag } from '../../../src/pgtable/walker.ts';
import { TinyMachine, must, type Seen } from '../../support/tiny-machine.ts';
import { LimitedCache, RW, RecordingOps } from '../helpers.ts';

/** How a fault walks. */
export const FAULT: number = WalkFlag.shared | WalkFlag.handleFault;
/** What stands in an entry that is being changed. */
export const LOCKED = 0x400n;

const ADDRESS = 0xffff_ffff_f000n;
const hex = (value: number): string => value.toString(16);

/** The owner of a page pool at EL2: no read section. */
class PoolOps extends RecordingOps {
  // oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
  override *rcuReadLock(): Op<boolean> {
    return false;
  }
}

/** Frees detached tables when told: after all agents, as a grace period would. */
export class DeferringOps extends RecordingOps {
  readonly #detached: { readonly table: Word; readonly level: Level }[] = [];

  override *freeUnlinkedTable(table: Word, level: Level): Op<void> {
    this.#detached.push({ table, level });
  }

  /** The number of tables freed. */
  *drain(): Op<number> {
    const detached = this.#detached.splice(0);
    for (const { table, level } of detached) {
      yield* stage2FreeUnlinked({ geometry: this.geometry, ops: this }, table, level);
    }
    return detached.length;
  }
}

/** An entry that is not empty and points to no table. */
export interface Entry {
  readonly addr: number;
  readonly level: number;
  readonly value: bigint;
}

export interface MapArguments {
  readonly ipa: number;
  readonly size: number;
  readonly phys: number;
  readonly prot?: number;
  readonly flags?: number;
}

/** One agent's objects over the table. */
export class TableView {
  readonly zone: FrameZone;
  readonly ops: DeferringOps;
  readonly pgt: Stage2Pgtable;
  readonly cache: LimitedCache;

  constructor(machine: TinyMachine, pgt: Stage2Pgtable) {
    this.zone = machine.agent().memory.tables;
    this.ops = new DeferringOps(this.zone, pgt.geometry);
    this.pgt = { ...pgt, ops: this.ops };
    this.cache = new LimitedCache(this.zone, Infinity);
  }

  *map({ ipa, size, phys, prot = RW, flags = FAULT }: MapArguments): Op<Outcome> {
    const { pgt, cache } = this;
    return yield* stage2Map(pgt, { ipa, size, phys: phys as Phys, prot, cache, flags });
  }
}

export interface ParallelOptions {
  readonly shift?: number;
  readonly ipaBits?: number;
  readonly features?: Partial<MachineFeatures>;
  readonly tableFrames?: number;
  readonly cachePages?: number;
  readonly isPool?: boolean;
}

export class ParallelTable {
  readonly machine: TinyMachine;
  readonly zone: FrameZone;
  readonly ops: RecordingOps;
  readonly pgt: Stage2Pgtable;
  readonly page: number;
  cache: LimitedCache;
  readonly #shift: number;

  constructor(options: ParallelOptions = {}) {
    const { shift = 12, ipaBits = 40, tableFrames = 24, cachePages = Infinity } = options;
    const geometry = new Geometry(shift);
    const features = { ...ARMV8_0, ...options.features };
    this.#shift = shift;
    this.page = 2 ** shift;
    this.machine = new TinyMachine({ tableFrames, tableBytes: this.page });
    this.zone = this.machine.main.memory.tables;
    const Ops = options.isPool === true ? PoolOps : RecordingOps;
    this.ops = new Ops(this.zone, geometry);
    this.pgt = drive(stage2Init(stage2Config(geometry, ipaBits, features), this.ops));
    this.cache = new LimitedCache(this.zone, cachePages);
    this.ops.log.length = 0;
  }

  /** A view for an agent of a run. */
  view(): TableView {
    return new TableView(this.machine, this.pgt);
  }

  /** Exclusive, and as a fault is answered, unless `flags` say otherwise. */
  map(request: MapArguments): Outcome {
    const { ipa, size, phys, prot = RW, flags = WalkFlag.handleFault } = request;
    const { pgt, cache } = this;
    return drive(stage2Map(pgt, { ipa, size, phys: phys as Phys, prot, cache, flags }));
  }

  unmap(ipa: number, size: number): Outcome {
    return drive(stage2Unmap(this.pgt, ipa, size));
  }

  /** Bytes of an entry: `shift(L) = (4 - L) * (P - 3) + 3`. */
  sizeOf(level: number): number {
    return 2 ** ((4 - level) * (this.#shift - 3) + 3);
  }

  /** The log since the last call, exclusive walks left out. */
  logged(): string[] {
    return this.ops.log.splice(0).filter((line) => line !== 'begin' && line !== 'end');
  }

  /** The entry at `addr`: its level, value and place. */
  lookup(addr: number): Entry & { readonly at: Word } {
    const { startLevel, pgd } = this.pgt;
    let first = this.zone.wordOf(pgd);
    for (let level: number = startLevel; ; level++) {
      const number = Math.floor(addr / this.sizeOf(level));
      const index = level === startLevel ? number : number % (this.page / 8);
      const at = first + index * 8;
      const value = this.#value(at);
      if (level === 3 || (value & 3n) !== 3n) return { addr, level, value, at };
      first = this.zone.wordOf(Number(value & ADDRESS) as Phys);
    }
  }

  /** Writes the entry that `lookup` finds for `addr`, by hand. */
  plant(addr: number, value: bigint): void {
    const { at } = this.lookup(addr);
    this.machine.memory.words[at >>> 2] = Number(BigInt.asIntN(32, value));
    this.machine.memory.words[(at >>> 2) + 1] = Number(BigInt.asIntN(32, value >> 32n));
  }

  /**
   * Everything that stands in the table, in order. Checks section 4.0 on the way: each page has one reference and one for each entry that
   * is not zero, no entry is locked, no page is lost.
   */
  entries(): Entry[] {
    const found: Entry[] = [];
    let pages = 0;
    const scan = (first: Word, level: number, base: number): void => {
      let counted = 0;
      pages++;
      for (let index = 0; index < this.page / 8; index++) {
        const at = first + index * 8;
        if ((this.machine.word(at) | this.machine.word(at + 4)) === 0) continue;
        const value = this.#value(at);
        counted++;
        const addr = base + index * this.sizeOf(level);
        must(value !== LOCKED, `locked: level ${level}, ${hex(addr)}`);
        if (level < 3 && (value & 3n) === 3n) {
          scan(this.zone.wordOf(Number(value & ADDRESS) as Phys), level + 1, addr);
        } else found.push({ addr, level, value });
      }
      const count = drive(this.zone.countAt(first));
      must(count === 1 + counted, `${hex(base)}: ${count} references, ${counted} entries`);
    };
    const { pgd, pgdPages, startLevel } = this.pgt;
    const root = this.zone.wordOf(pgd);
    const reach = this.sizeOf(startLevel) * (this.page / 8);
    for (let i = 0; i < pgdPages; i++) scan(root + i * this.page, startLevel, i * reach);
    must(this.pagesInUse() === pages, `${this.pagesInUse()} pages in use, ${pages} in the table`);
    return found;
  }

  /** The same as words: `level address -> physical address`, what is allowed, what software noted; or an invalid value. */
  words(): string[] {
    return this.entries().map(({ addr, level, value }) => {
      if ((value & 1n) === 0n) return `${level} ${hex(addr)} invalid ${value.toString(16)}`;
      const allowed = [
        (value & 0x40n) === 0n ? '-' : 'r',
        (value & 0x80n) === 0n ? '-' : 'w',
        (value >> 54n) & 1n ? '-' : 'x',
      ].join('');
      const software = (value >> 55n) & 0xfn;
      const note = software === 0n ? '' : ` sw ${software}`;
      return `${level} ${hex(addr)} -> ${hex(Number(value & ADDRESS))} ${allowed}${note}`;
    });
  }

  /** Pages of the zone that are not free. */
  pagesInUse(): number {
    const { used, free } = this.zone.accounts();
    return used - free;
  }

  /** What `op` does to table entries and what it waits for, in order; its other accesses left out. */
  trace(op: () => Op<unknown>): string[] {
    const seen = this.machine.alone(function* () {
      yield* op();
    });
    return seen.flatMap((event) => this.#line(event));
  }

  #line({ kind, at, lo, hi, extra }: Seen): string[] {
    const { contents, frames, frameBytes, meta } = this.zone.layout;
    const value = ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16);
    if (kind === EventKind.barrier) return [`barrier ${extra}`];
    if (kind === EventKind.add32 && at >= meta && at < meta + frames * 8) return [`count ${lo}`];
    if (at < contents || at >= contents + frames * frameBytes) return [];
    if (kind === EventKind.store64) return [`${extra === 2 ? 'release' : 'store'} ${value}`];
    return kind === EventKind.cas64 ? [`cas ${value}`] : [];
  }

  #value(at: Word): bigint {
    const { machine } = this;
    return (BigInt(machine.word(at + 4) >>> 0) << 32n) | BigInt(machine.word(at) >>> 0);
  }
}
