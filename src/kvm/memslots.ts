/** Memslots: which guest frames exist, and which user addresses back them (specification section 5A). */
import { Order, event, or32, read32, store32, type Op, type Word } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Gfn, Hva } from '../machine/address.ts';

const WORD_BITS = 32;

/** Bits of a slot's flags word. */
export const SlotFlag = { logDirty: 1 } as const;

/** What does not change while a slot exists. */
export interface SlotLayout {
  readonly baseGfn: Gfn;
  readonly pages: number;
  readonly pageBytes: number;
  /** User address of the first page. */
  readonly hva: Hva;
  /** {@link SlotFlag} bits. */
  readonly flags: Word;
  /** Dirty bitmap, one bit a page in 32-bit words. */
  readonly dirtyBitmap: Word;
}

/** Bytes of a dirty bitmap for `pages` pages. */
export function dirtyBitmapBytes(pages: number): number {
  return Math.ceil(pages / WORD_BITS) * 4;
}

export class Memslot {
  readonly layout: SlotLayout;
  readonly isReadonly = false;
  readonly isInvalid = false;

  constructor(layout: SlotLayout) {
    this.layout = layout;
  }

  contains(gfn: Gfn): boolean {
    return gfn >= this.layout.baseGfn && gfn < this.layout.baseGfn + this.layout.pages;
  }

  hvaOf(gfn: Gfn): Hva {
    return (this.layout.hva + (gfn - this.layout.baseGfn) * this.layout.pageBytes) as Hva;
  }

  get baseGfn(): Gfn {
    return this.layout.baseGfn;
  }

  get pages(): number {
    return this.layout.pages;
  }

  get hva(): Hva {
    return this.layout.hva;
  }

  /** First guest physical byte of the slot, and its size. */
  get ipa(): number {
    return this.layout.baseGfn * this.layout.pageBytes;
  }

  get bytes(): number {
    return this.layout.pages * this.layout.pageBytes;
  }

  isLogging(): boolean {
    return (read32(this.layout.flags) & SlotFlag.logDirty) !== 0;
  }

  *enableLogging(): Op<void> {
    yield* store32(this.layout.flags, SlotFlag.logDirty, Order.release);
  }

  *markDirty(gfn: Gfn): Op<void> {
    const page = gfn - this.layout.baseGfn;
    event(EventKind.dirtySet, this.layout.dirtyBitmap, page, 0);
    yield* or32(this.#bitmapWord(page), 1 << (page % WORD_BITS), Order.once);
  }

  /** Whether the page's dirty bit is set: for checks while nothing runs. */
  isDirty(page: number): boolean {
    return (read32(this.#bitmapWord(page)) & (1 << (page % WORD_BITS))) !== 0;
  }

  #bitmapWord(page: number): Word {
    return this.layout.dirtyBitmap + Math.floor(page / WORD_BITS) * 4;
  }
}

/** The slots of a VM, in ascending order of guest frames. */
export class Memslots {
  readonly slots: readonly Memslot[];
  /** The slot that answered last: faults come in runs. */
  #recent: Memslot | undefined;

  constructor(slots: readonly Memslot[]) {
    this.slots = slots;
  }

  /** Nothing to hold up: slots are not replaced. */
  *readLock(): Op<void> {}

  *readUnlock(): Op<void> {}

  /** The slot of a guest frame, if there is one. */
  // oxlint-disable-next-line require-yield -- a list that can be replaced has to be loaded.
  *lookup(gfn: Gfn): Op<Memslot | undefined> {
    if (this.#recent?.contains(gfn) === true) return this.#recent;
    const slot = this.slots.find((candidate) => candidate.contains(gfn));
    if (slot !== undefined) this.#recent = slot;
    return slot;
  }
}
