/**
 * A vCPU's dirty ring (arm64 from 6.2): instead of bits in a bitmap, entries that name the pages which the vCPU was let write. The vCPU fills
 * it, user space takes entries out and gives them back as harvested, and a reset frees them and protects their pages again.
 *
 * | flags | whose the entry is |
 * |---|---|
 * | 0 | the vCPU's, to be filled |
 * | `dirty` | user space's, to be taken |
 * | `reset` | the reset's |
 *
 * Each hand-over is a release that the next owner's acquire pairs with. The ring may not run over: the vCPU does not enter the guest once
 * it is full but for its reserve, and one exit fills one entry at most.
 */
import {
  Order,
  event,
  load32,
  read32,
  signal32,
  store32,
  wait,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';

/** Words of a ring. All start zeroed. */
export interface DirtyRingLayout {
  /** Entries: a power of two. */
  readonly size: number;
  /** `size * DIRTY_ENTRY_BYTES` bytes. */
  readonly entries: Word;
  /** Entries ever filled; written by the vCPU. */
  readonly dirtyIndex: Word;
  /** Waitable: entries ever freed; written by a reset. */
  readonly resetIndex: Word;
  /** Entries ever taken; user space's own. */
  readonly fetchIndex: Word;
}

/** A page of a slot. */
export interface DirtyEntry {
  readonly slot: number;
  /** Pages from the slot's beginning. */
  readonly offset: number;
}

const FIELD = { flags: 0, slot: 4, offset: 8 } as const;
export const DIRTY_ENTRY_BYTES = 16;
const Flag = { dirty: 1, reset: 2 } as const;
/** Entries that are kept free, at most: faults that are handled before the vCPU looks. */
const RESERVED_MAX = 64;

export class DirtyRing {
  readonly #layout: DirtyRingLayout;
  /** Entries in use from which on the ring counts as full. */
  readonly #softLimit: number;

  constructor(layout: DirtyRingLayout) {
    const { size } = layout;
    if (size < 2 || (size & (size - 1)) !== 0)
      throw new Error(`a dirty ring of ${size} entries: not a power of two`);
    this.#layout = layout;
    this.#softLimit = size - Math.min(RESERVED_MAX, Math.ceil(size / 4));
  }

  /** Records a page; the vCPU's own thread only. Pairs with `collect`. */
  *push({ slot, offset }: DirtyEntry): Op<void> {
    const index = read32(this.#layout.dirtyIndex);
    const at = this.#entry(index);
    if ((yield* this.#used()) >= this.#layout.size || read32(at + FIELD.flags) !== 0)
      throw new Error('a dirty ring runs over');
    write32(at + FIELD.slot, slot);
    write32(at + FIELD.offset, offset);
    event(EventKind.dirtySet, at, offset, slot);
    yield* store32(at + FIELD.flags, Flag.dirty, Order.release);
    write32(this.#layout.dirtyIndex, (index + 1) | 0);
  }

  /** Whether the vCPU has to leave entering the guest to user space first; its own thread only. */
  *isSoftFull(): Op<boolean> {
    return (yield* this.#used()) >= this.#softLimit;
  }

  /** Waits while the ring is full: what user space does after such an exit. Pairs with `take`. */
  *awaitRoom(): Op<void> {
    for (;;) {
      const reset = yield* load32(this.#layout.resetIndex, Order.acquire);
      if (this.#usedAfter(reset) < this.#softLimit) return;
      yield* wait(this.#layout.resetIndex, reset);
    }
  }

  /** Takes every entry that is filled, and marks it harvested; one thread of user space at a time. */
  *collect(): Op<readonly DirtyEntry[]> {
    const taken: DirtyEntry[] = [];
    for (let index = read32(this.#layout.fetchIndex); ; index = (index + 1) | 0) {
      const at = this.#entry(index);
      if ((yield* load32(at + FIELD.flags, Order.acquire)) !== Flag.dirty) return taken;
      taken.push(this.#read(at));
      write32(this.#layout.fetchIndex, (index + 1) | 0);
      yield* store32(at + FIELD.flags, Flag.reset, Order.release);
    }
  }

  /** Frees the next harvested entry, or null. `slots_lock` is held. */
  *take(): Op<DirtyEntry | null> {
    const index = yield* load32(this.#layout.resetIndex, Order.once);
    const at = this.#entry(index);
    if ((yield* load32(at + FIELD.flags, Order.acquire)) !== Flag.reset) return null;
    const entry = this.#read(at);
    yield* store32(at + FIELD.flags, 0, Order.release);
    yield* signal32(this.#layout.resetIndex, (index + 1) | 0, Order.release);
    return entry;
  }

  /** Entries that were not reset: for checks while nothing runs. */
  pending(): DirtyEntry[] {
    const first = read32(this.#layout.resetIndex);
    return Array.from({ length: this.#usedAfter(first) }, (_, i) =>
      this.#read(this.#entry(first + i)),
    );
  }

  *#used(): Op<number> {
    return this.#usedAfter(yield* load32(this.#layout.resetIndex, Order.acquire));
  }

  #usedAfter(reset: number): number {
    return (read32(this.#layout.dirtyIndex) - reset) >>> 0;
  }

  #read(at: Word): DirtyEntry {
    return { slot: read32(at + FIELD.slot), offset: read32(at + FIELD.offset) };
  }

  #entry(index: number): Word {
    return this.#layout.entries + (index & (this.#layout.size - 1)) * DIRTY_ENTRY_BYTES;
  }
}
