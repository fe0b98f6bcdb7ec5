/** Table pages of a VM: the part of a table's operations that every table of a zone shares. */
import type { Op, Word } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import type { FrameZone } from '../machine/frames.ts';
import type { Geometry } from '../machine/geometry.ts';
import type { TableMemory } from '../pgtable/mm-ops.ts';
import { stage2FreeUnlinked } from '../pgtable/parallel/unlinked.ts';

export class TablePages implements TableMemory {
  protected readonly zone: FrameZone;
  readonly #geometry: Geometry;
  /** The machine has no FEAT_TLBIRANGE. */
  readonly hasRangeTlbi = false;

  constructor(zone: FrameZone, geometry: Geometry) {
    this.zone = zone;
    this.#geometry = geometry;
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

  /** At once: nothing walks beside another until a profile takes the lock's read side. */
  *freeUnlinkedTable(table: Word, level: Level): Op<void> {
    yield* stage2FreeUnlinked({ geometry: this.#geometry, ops: this }, table, level);
  }

  /** Nothing to hold up: see `freeUnlinkedTable`. */
  rcuReadLock(): boolean {
    return true;
  }

  rcuReadUnlock(): void {}
}
