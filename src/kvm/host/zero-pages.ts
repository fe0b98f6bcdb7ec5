/** The zero page and the huge zero page: allocated when first read, shared by all, never freed while the machine runs. */
import { Order, cas32, load32, type Op, type Word } from '#port';
import type { Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import type { HostMemoryLayout } from './layout.ts';
import { OWNER_ZERO, type Pages } from './pages.ts';

export class ZeroPages {
  readonly #pages: Pages;
  readonly #page: Word;
  readonly #huge: Word;
  readonly #entries: number;

  constructor(layout: HostMemoryLayout, pages: Pages) {
    this.#pages = pages;
    this.#page = layout.zeroPage;
    this.#huge = layout.hugeZeroPage;
    this.#entries = layout.geometry.entries;
  }

  /** The zero page, or {@link NO_FRAME} where there is none yet and no frame left. */
  *page(): Op<Phys> {
    return yield* this.#frame(this.#page, 1);
  }

  /** The first frame of the huge one, as large as a block of level 2. */
  *huge(): Op<Phys> {
    return yield* this.#frame(this.#huge, this.#entries);
  }

  /** First frame and length of those that exist: for accounting while nothing runs. */
  *existing(): Op<readonly { readonly first: Phys; readonly frames: number }[]> {
    const page = yield* load32(this.#page, Order.once);
    const huge = yield* load32(this.#huge, Order.once);
    return [
      { number: page, frames: 1 },
      { number: huge, frames: this.#entries },
    ]
      .filter(({ number }) => number !== 0)
      .map(({ number, frames }) => ({ first: this.#pages.frameOf(number - 1), frames }));
  }

  /** Of two agents that need the first one, the later gives its own back. */
  *#frame(word: Word, frames: number): Op<Phys> {
    const known = yield* load32(word, Order.acquire);
    if (known !== 0) return this.#pages.frameOf(known - 1);
    const first =
      frames === 1 ? yield* this.#pages.allocate() : yield* this.#pages.allocateBlock(frames);
    if (first === NO_FRAME) return first;
    for (let i = 0; i < frames; i++)
      yield* this.#pages.frames.own(this.#pages.next(first, i), OWNER_ZERO);
    if (yield* cas32(word, 0, this.#pages.numberOf(first) + 1, Order.full)) return first;
    yield* this.#pages.putBlock(first, frames);
    return yield* this.#frame(word, frames);
  }
}
