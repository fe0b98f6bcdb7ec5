/** Table pages of a VM: the part of a table's operations that every table of a zone shares. */
import type { Op, Word } from '#port';
import type { Phys } from '../machine/address.ts';
import type { FrameZone } from '../machine/frames.ts';

export class TablePages {
  readonly #zone: FrameZone;

  constructor(zone: FrameZone) {
    this.#zone = zone;
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

  *zallocPagesExact(pages: number): Op<Phys> {
    return yield* this.#zone.zallocContiguous(pages);
  }

  *freePagesExact(first: Phys, pages: number): Op<void> {
    for (let i = 0; i < pages; i++) {
      const freed = yield* this.#zone.put((first + i * this.#zone.layout.frameBytes) as Phys);
      if (!freed) throw new Error('root page freed with references');
    }
  }
}
