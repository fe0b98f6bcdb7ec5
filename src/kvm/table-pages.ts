/** Table pages of a VM: the part of a table's operations that every table of a zone shares. */
import type { Op, Word } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import type { FrameZone } from '../machine/frames.ts';
import type { Geometry } from '../machine/geometry.ts';
import type { TableMemory } from '../pgtable/mm-ops.ts';
import { stage2FreeUnlinked } from '../pgtable/parallel/unlinked.ts';

export class TablePages implements TableMemory {
  protected readonly zone: FrameZone;
  protected readonly geometry: Geometry;

  constructor(zone: FrameZone, geometry: Geometry) {
    this.zone = zone;
    this.geometry = geometry;
  }

  wordOf(address: Phys): Word {
    return this.zone.wordOf(address);
  }

  *getPage(at: Word): Op<void> {
    yield* this.zone.getAt(at);
  }

  *putPage(at: Word): Op<void> {
    yield* this.zone.putAt(at);
  }

  *pageCount(at: Word): Op<number> {
    return yield* this.zone.countAt(at);
  }

  *zallocPagesExact(pages: number): Op<Phys> {
    return yield* this.zone.zallocContiguous(pages);
  }

  *freePagesExact(first: Phys, pages: number): Op<void> {
    for (let i = 0; i < pages; i++) {
      const freed = yield* this.zone.put((first + i * this.zone.layout.frameBytes) as Phys);
      if (!freed) throw new Error('root page freed with references');
    }
  }

  /** At once: nobody else is in the table. */
  *freeUnlinkedTable(table: Word, level: Level): Op<void> {
    yield* stage2FreeUnlinked({ geometry: this.geometry, ops: this }, table, level);
  }

  /** No shared walk: see `freeUnlinkedTable`. */
  // oxlint-disable-next-line require-yield -- the interface allows sections that do yield.
  *rcuReadLock(): Op<boolean> {
    return false;
  }

  *rcuReadUnlock(): Op<void> {}

  metLocked(_entry: Word): void {}
}
