/** A hyp table of any granule over EL2's operations, and a reader of its own for what the table holds. */
import { EventKind } from '../../src/engine/events.ts';
import { Barrier, barrier, drive, type Op, type Word } from '../../src/engine/explore.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { FrameZone } from '../../src/machine/frames.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { hypInit, hypMap, hypUnmap, type HypMapped } from '../../src/pgtable/hyp.ts';
import { HYP_PROT } from '../../src/pgtable/hyp-prot.ts';
import type { LevelHint, MmOps, TableCache } from '../../src/pgtable/mm-ops.ts';
import type { Pgtable } from '../../src/pgtable/pgtable.ts';
import { TinyMachine, must } from '../support/tiny-machine.ts';

/** A page shift, and bytes of a block at level 2. */
interface Granule {
  readonly name: string;
  readonly shift: number;
  readonly block: number;
}

export const GRANULES: readonly Granule[] = [
  { name: '4K', shift: 12, block: 0x20_0000 },
  { name: '16K', shift: 14, block: 0x200_0000 },
  { name: '64K', shift: 16, block: 0x2000_0000 },
];

const hex = (value: number): string => value.toString(16);

/** What EL2 gives the library: a pool of pages, freed at once; no read section around walks; invalidation by virtual address. */
export class El2Ops implements MmOps, TableCache {
  /** TLBIs. */
  readonly log: string[] = [];
  readonly hasRangeTlbi = false;
  /** Pages that the pool still gives. */
  left: number;
  readonly #zone: FrameZone;

  constructor(zone: FrameZone, pages: number) {
    this.#zone = zone;
    this.left = pages;
  }

  wordOf(address: Phys): Word {
    return this.#zone.wordOf(address);
  }

  *alloc(): Op<Phys> {
    if (this.left === 0) return 0 as Phys;
    this.left--;
    return yield* this.#zone.zalloc();
  }

  *zallocPagesExact(count: number): Op<Phys> {
    must(count === 1, 'the pool has single pages');
    return yield* this.alloc();
  }

  *freePagesExact(first: Phys, count: number): Op<void> {
    must(count === 1, 'the pool has single pages');
    yield* this.putPage(this.wordOf(first));
  }

  *getPage(at: Word): Op<void> {
    yield* this.#zone.getAt(at);
  }

  *putPage(at: Word): Op<void> {
    if (yield* this.#zone.putAt(at)) this.left++;
  }

  *pageCount(at: Word): Op<number> {
    return yield* this.#zone.countAt(at);
  }

  *tlbFlushIpa(va: number, level: LevelHint): Op<void> {
    this.log.push(level === 0 ? `vae2is ${hex(va)}` : `vale2is ${hex(va)} level ${level}`);
    yield* barrier(Barrier.dsbIsh);
  }

  *tlbFlushIpaLocal(): Op<void> {
    throw new Error('EL2 has no VMID');
  }

  *tlbFlushRange(): Op<void> {
    throw new Error('EL2 has no VMID');
  }

  *tlbFlushVmid(): Op<void> {
    throw new Error('EL2 has no VMID');
  }

  *publishEntries(): Op<void> {
    yield* barrier(Barrier.dsbIshst);
  }

  *dcacheCleanInvalidate(): Op<void> {
    throw new Error('nothing to clean at hyp stage 1');
  }

  *icacheInvalidate(): Op<void> {
    throw new Error('nothing to clean at hyp stage 1');
  }

  *freeUnlinkedTable(): Op<void> {
    throw new Error('no table is replaced at hyp stage 1');
  }

  // oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
  *rcuReadLock(): Op<boolean> {
    return false;
  }

  *rcuReadUnlock(): Op<void> {}

  metLocked(): void {}

  walkBegin(): void {}

  walkEnd(): void {}
}

/** A leaf as it stands in a table. */
export interface HypLeaf {
  readonly va: number;
  readonly level: number;
  readonly value: bigint;
}

/** Every leaf in ascending order; checks the reference count of each table page on the way. */
export function hypLeaves(machine: TinyMachine, pgt: Pgtable): HypLeaf[] {
  const found: HypLeaf[] = [];
  const zone = machine.main.memory.tables;
  const { pageShift } = pgt.geometry;
  const scan = (table: number, level: number, base: number): void => {
    const size = 2 ** ((4 - level) * (pageShift - 3) + 3);
    let valid = 0;
    for (let index = 0; index < 2 ** (pageShift - 3); index++) {
      const at = zone.wordOf(table as Phys) + index * 8;
      if ((machine.word(at) & 1) === 0) continue;
      valid++;
      const value = (BigInt(machine.word(at + 4) >>> 0) << 32n) | BigInt(machine.word(at) >>> 0);
      const va = base + index * size;
      if (level < 3 && (value & 2n) !== 0n) scan(Number(value & 0xffff_ffff_f000n), level + 1, va);
      else found.push({ va, level, value });
    }
    const count = drive(zone.count(table as Phys));
    must(count === 1 + valid, `${count} references, ${valid} entries`);
  };
  scan(pgt.pgd, pgt.startLevel, 0);
  return found;
}

/** Bits of a leaf without its output address: type and attributes. */
export function attributesOf(value: bigint): bigint {
  return value & ~0xffff_ffff_f000n;
}

/** Output address of a leaf of up to 48 bits. */
export function oaOf(value: bigint): number {
  return Number(value & 0xffff_ffff_f000n);
}

/** The barriers that an operation makes, in order. */
export function barriersOf(machine: TinyMachine, op: () => Op<unknown>): Barrier[] {
  const seen = machine.alone(function* () {
    yield* op();
  });
  return seen.filter(({ kind }) => kind === EventKind.barrier).map(({ extra }) => extra as Barrier);
}

export interface HypTableOptions {
  readonly shift?: number;
  readonly lpa2?: boolean;
  readonly vaBits?: number;
  /** Of the pool, the root included. */
  readonly pages?: number;
}

export class HypTable {
  readonly machine: TinyMachine;
  readonly ops: El2Ops;
  readonly pgt: Pgtable;
  readonly pages: number;

  constructor({ shift = 12, vaBits = 48, pages = 16, lpa2 = false }: HypTableOptions = {}) {
    this.machine = new TinyMachine({ tableFrames: 16, tableBytes: 2 ** shift });
    this.ops = new El2Ops(this.machine.main.memory.tables, pages);
    this.pages = pages;
    const pgt = drive(hypInit(new Geometry(shift, lpa2), vaBits, this.ops));
    if (typeof pgt === 'string') throw new Error(pgt);
    this.pgt = pgt;
  }

  *mapping(va: number, size: number, phys: number, prot: number = HYP_PROT.data): Op<HypMapped> {
    return yield* hypMap(this.pgt, { va, size, phys: phys as Phys, prot, pages: this.ops });
  }

  map(va: number, size: number, phys: number, prot: number = HYP_PROT.data): HypMapped {
    return drive(this.mapping(va, size, phys, prot));
  }

  unmap(va: number, size: number): number {
    return drive(hypUnmap(this.pgt, va, size));
  }

  leaves(): HypLeaf[] {
    return hypLeaves(this.machine, this.pgt);
  }

  /** Leaves as words: `level va -> physical address`. */
  words(): string[] {
    return this.leaves().map(
      ({ level, va, value }) => `${level} ${hex(va)} -> ${hex(oaOf(value))}`,
    );
  }

  /** Pages of the pool in use. */
  inUse(): number {
    return this.pages - this.ops.left;
  }
}
