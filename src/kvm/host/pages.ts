/**
 * The host's frames: who owns each, what was seen of its use. The owner's tag stands in the frame's own words, for whoever reaches a
 * frame by a translation that may be stale:
 *
 * | tag | whose contents |
 * |---|---|
 * | `n > 0` | page `n - 1` of the address space, alone |
 * | `OWNER_SHARED - n` | page `n` of the shared object |
 * | `OWNER_DEVICE - n` | registers of the page with the number `n` of physical memory |
 * | `OWNER_ZERO`, `OWNER_MERGED` | nobody may write: the zero pages; pages that were equal |
 * | `OWNER_POISONED` | broken memory, never handed out again |
 * | 0 | free, being moved, or not yet mapped |
 */
import { Order, cas32, load32, or32, write32, type Op, type Word } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../../machine/frames.ts';
import { HVA_BASE, type HostMemoryLayout } from './layout.ts';
import type { VmArea } from './vma.ts';

export const OWNER_ZERO = -1;
export const OWNER_MERGED = -2;
export const OWNER_POISONED = -3;
const OWNER_SHARED = -4;
/** Below the tags of every shared object. */
const OWNER_DEVICE = -(2 ** 30);

/** Bits of a frame's flags. `offLru`: somebody took the page off the lists of pages that age, to move it. */
export const PageFlag = { accessed: 1, dirty: 2, offLru: 4 } as const;

export class Pages {
  readonly frames: FrameZone;
  readonly #flags: Word;
  readonly #pageBytes: number;

  constructor(layout: HostMemoryLayout, frames: FrameZone) {
    this.frames = frames;
    this.#flags = layout.pageFlags;
    this.#pageBytes = layout.geometry.pageBytes;
  }

  /** The tag that a frame of this page has unless it is the zero page or merged. */
  ownerTag(area: VmArea, hva: Hva): number {
    const page = (address: number): number => Math.floor(address / this.#pageBytes);
    if (area.kind === 'pfnmap') return OWNER_DEVICE - area.pgoff - page(hva - area.hva);
    if (area.kind === 'shared') return OWNER_SHARED - area.pgoff - page(hva - area.hva);
    return page(hva - HVA_BASE) + 1;
  }

  /** A zeroed frame of nobody with one reference, or {@link NO_FRAME}. */
  *allocate(): Op<Phys> {
    const frame = yield* this.frames.zalloc();
    if (frame !== NO_FRAME) write32(this.#flagsOf(frame), 0);
    return frame;
  }

  /** `count` contiguous ones, aligned to their size together. */
  *allocateBlock(count: number): Op<Phys> {
    const first = yield* this.frames.zallocContiguous(count);
    if (first === NO_FRAME) return first;
    for (let i = 0; i < count; i++) write32(this.#flagsOf(this.next(first, i)), 0);
    return first;
  }

  /** Makes the frames of a fresh block pages from `tag` on. */
  *ownBlock(first: Phys, count: number, tag: number): Op<void> {
    for (let i = 0; i < count; i++) yield* this.frames.own(this.next(first, i), tag + i);
  }

  /** Drops the reference of an entry that is gone. A page that was private is nobody's from here on, even while it is pinned. */
  *release(frame: Phys): Op<void> {
    if (isPrivateOwner(yield* this.frames.owner(frame))) yield* this.frames.own(frame, 0);
    yield* this.frames.put(frame);
  }

  *putBlock(first: Phys, count: number): Op<void> {
    for (let i = 0; i < count; i++) yield* this.frames.put(this.next(first, i));
  }

  /** The `i`th frame from `first` on. */
  next(first: Phys, i: number): Phys {
    return (first + i * this.#pageBytes) as Phys;
  }

  numberOf(frame: Phys): number {
    return (frame - this.frames.layout.base) / this.#pageBytes;
  }

  frameOf(number: number): Phys {
    return this.next(this.frames.layout.base, number);
  }

  /** Sets a flag. */
  *mark(frame: Phys, flag: number): Op<void> {
    yield* or32(this.#flagsOf(frame), flag, Order.full, 0);
  }

  /** Sets a flag; whether it was clear. */
  *tryMark(frame: Phys, flag: number): Op<boolean> {
    return ((yield* or32(this.#flagsOf(frame), flag, Order.full, flag)) & flag) === 0;
  }

  /** Clears a flag; whether it was set. Ends: each turn but the last means that another agent changed the flags. */
  *clear(frame: Phys, flag: number): Op<boolean> {
    const at = this.#flagsOf(frame);
    for (;;) {
      const flags = yield* load32(at, Order.once);
      if ((flags & flag) === 0) return false;
      if (yield* cas32(at, flags, flags & ~flag, Order.full)) return true;
    }
  }

  *has(frame: Phys, flag: number): Op<boolean> {
    return ((yield* load32(this.#flagsOf(frame), Order.once)) & flag) !== 0;
  }

  #flagsOf(frame: Phys): Word {
    return this.#flags + this.numberOf(frame) * 4;
  }
}

/** Whether a frame with this tag holds contents of one private page alone. */
export function isPrivateOwner(tag: number): boolean {
  return tag > 0;
}
