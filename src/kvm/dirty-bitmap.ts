/**
 * A slot's dirty bitmap (specification section 5J): a bit for each page in 64-bit words, and behind the live half a scratch half of the
 * same size, which a harvest fills. Bits are set at any time; whole words are taken under `slots_lock`.
 */
import {
  Order,
  cas64,
  event,
  fill,
  high,
  load64,
  or32,
  read32,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';

/** Pages of one word. */
export const WORD_PAGES = 64;
const WORD_BYTES = 8;
const HALF_PAGES = 32;
const ALL_BYTES = 0xff;

/** 64 bits of a bitmap, as two halves. */
export interface DirtyWord {
  readonly lo: number;
  readonly hi: number;
}

/** Bytes that a bitmap for `pages` pages takes, both halves; 8-byte aligned. */
export function dirtyBitmapBytes(pages: number): number {
  return 2 * wordsOf(pages) * WORD_BYTES;
}

export class DirtyBitmap {
  readonly #at: Word;
  readonly #pages: number;
  /** Words of each half. */
  readonly words: number;

  constructor(at: Word, pages: number) {
    this.#at = at;
    this.#pages = pages;
    this.words = wordsOf(pages);
  }

  /** Prepares the bitmap for a slot that begins to log; nobody else has it yet. */
  *reset(isDirty: boolean): Op<void> {
    yield* fill(this.#at, dirtyBitmapBytes(this.#pages), 0);
    if (!isDirty) return;
    yield* fill(this.#at, this.words * WORD_BYTES, ALL_BYTES);
    for (let page = this.#pages; page < this.words * WORD_PAGES; page++) {
      const at = this.#halfOf(page);
      write32(at, read32(at) & ~bitOf(page));
    }
  }

  *mark(page: number): Op<void> {
    event(EventKind.dirtySet, this.#at, page, 0);
    yield* or32(this.#halfOf(page), bitOf(page), Order.once, 0);
  }

  /** Whether a page's bit is set: for checks while nothing runs. */
  isDirty(page: number): boolean {
    return (read32(this.#halfOf(page)) & bitOf(page)) !== 0;
  }

  /** A word of the live half. */
  *load(word: number): Op<DirtyWord> {
    const lo = yield* load64(this.#wordAt(word), Order.once);
    return { lo, hi: high() };
  }

  /**
   * Clears the bits of `mask` in a live word and gives those that it cleared, in one step: a bit that is set between a load and a store
   * would be lost. The loop ends: each turn but the last means that a bit of the word was set meanwhile.
   */
  *fetchAndClear(word: number, mask: DirtyWord): Op<DirtyWord> {
    const at = this.#wordAt(word);
    for (;;) {
      const { lo, hi } = yield* this.load(word);
      const taken = { lo: lo & mask.lo, hi: hi & mask.hi };
      if (isClean(taken)) return taken;
      if (yield* cas64(at, lo, hi, lo & ~mask.lo, hi & ~mask.hi, Order.full)) return taken;
    }
  }

  /** The scratch half belongs to the holder of `slots_lock`. */
  writeScratch(word: number, { lo, hi }: DirtyWord): void {
    write32(this.#scratchAt(word), lo);
    write32(this.#scratchAt(word) + WORD_BYTES / 2, hi);
  }

  readScratch(word: number): DirtyWord {
    const at = this.#scratchAt(word);
    return { lo: read32(at), hi: read32(at + WORD_BYTES / 2) };
  }

  #wordAt(word: number): Word {
    return this.#at + word * WORD_BYTES;
  }

  #scratchAt(word: number): Word {
    return this.#at + (this.words + word) * WORD_BYTES;
  }

  #halfOf(page: number): Word {
    return this.#at + Math.floor(page / HALF_PAGES) * (WORD_BYTES / 2);
  }
}

/** Whether a log, which begins with page 0 of a slot, has a page's bit. */
export function isLogged(log: readonly DirtyWord[], page: number): boolean {
  const word = log[Math.floor(page / WORD_PAGES)];
  if (word === undefined) return false;
  const half = page % WORD_PAGES < HALF_PAGES ? word.lo : word.hi;
  return (half & bitOf(page)) !== 0;
}

export function isClean({ lo, hi }: DirtyWord): boolean {
  return (lo | hi) === 0;
}

/** The pages of a word between its lowest and its highest set bit, both included; the word has one. */
export function span({ lo, hi }: DirtyWord): { readonly first: number; readonly last: number } {
  return {
    first: lo === 0 ? HALF_PAGES + lowest(hi) : lowest(lo),
    last: hi === 0 ? highest(lo) : HALF_PAGES + highest(hi),
  };
}

function lowest(half: number): number {
  return highest(half & -half);
}

function highest(half: number): number {
  return HALF_PAGES - 1 - Math.clz32(half);
}

function bitOf(page: number): number {
  return 1 << (page % HALF_PAGES);
}

function wordsOf(pages: number): number {
  return Math.ceil(pages / WORD_PAGES);
}
