/**
 * Physical memory: two zones of frames (guest RAM, table pages), a reference count per frame, and a free list per zone
 * under a zone lock. A freed frame is poisoned before it can be handed out again, so that a stale user shows.
 */
import {
  Order,
  PIN,
  REFERENCES,
  add32,
  event,
  fill,
  addUnlessZero32,
  load32,
  read32,
  store32,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';
import type { SpinLock } from '../locking/spin-lock.ts';
import type { Phys } from './address.ts';

/** Bytes of a frame where pages have 4 KiB: the smallest there are. */
export const FRAME_BYTES = 4096;
/** What a word of a freed frame reads as: bytes of {@link POISON_BYTE}. */
export const POISON = 0x6b6b6b6b;
const POISON_BYTE = 0x6b;
/** No frame: the zone is exhausted. Never a valid address here, RAM starts higher. */
export const NO_FRAME: Phys = 0 as Phys;

/** Physical base of device registers: no RAM, and below all of it. */
export const DEVICE_BASE: Phys = 0x0a00_0000 as Phys;
/** Physical base of guest RAM and of table pages: apart, so that a dump shows which is which. */
export const GUEST_RAM_BASE: Phys = 0x8000_0000 as Phys;
export const TABLE_RAM_BASE: Phys = 0x10_0000_0000 as Phys;
/** Of places in swap: frames that no table names. */
export const SWAP_BASE: Phys = 0x100_0000_0000 as Phys;

/** Where a zone lives. All words start zeroed. */
export interface ZoneLayout {
  readonly base: Phys;
  readonly frames: number;
  /** Bytes of a frame in the physical address space: a page of the granule, whatever is kept of its contents. */
  readonly frameBytes: number;
  /** Bytes kept per frame: all of them or one 64-byte line. */
  readonly contentBytes: number;
  readonly contents: Word;
  /** Three words per frame: reference count (pins above the others), link of the free list, owner. */
  readonly meta: Word;
  /** Three words under the zone lock: frames ever handed out, head of the free list (index + 1), its length. */
  readonly state: Word;
}

const META_BYTES = 12;
const LINK = 4;
const OWNER = 8;
const STATE = { used: 0, freeHead: 4, freeCount: 8 } as const;
/** Bytes of `ZoneLayout.state`. */
export const ZONE_STATE_BYTES = 12;
/** Bytes of `ZoneLayout.meta` per frame. */
export const FRAME_META_BYTES: number = META_BYTES;

export class FrameZone {
  readonly layout: ZoneLayout;
  readonly #lock: SpinLock;
  readonly #end: number;
  /** Exact: frames are a power of two. */
  readonly #frameInverse: number;
  readonly #contentShift: number;

  /** `lock` protects the zone's state words and links. */
  constructor(layout: ZoneLayout, lock: SpinLock) {
    this.layout = layout;
    this.#lock = lock;
    this.#contentShift = Math.log2(layout.contentBytes);
    this.#frameInverse = 1 / layout.frameBytes;
    this.#end = layout.base + layout.frames * layout.frameBytes;
  }

  contains(address: Phys): boolean {
    return address >= this.layout.base && address < this.#end;
  }

  /** The same of a word of the shared memory. */
  hasWord(at: Word): boolean {
    const { contents, frames, contentBytes } = this.layout;
    return at >= contents && at < contents + frames * contentBytes;
  }

  /** A zeroed frame with reference count 1, or {@link NO_FRAME}. Takes the zone lock. */
  *zalloc(): Op<Phys> {
    yield* this.#lock.lock();
    const index = this.#take();
    yield* this.#lock.unlock();
    if (index < 0) return NO_FRAME;
    const frame = this.#adopt(index);
    yield* fill(this.wordOf(frame), this.layout.contentBytes, 0);
    return frame;
  }

  /** `count` (a power of two) contiguous zeroed frames, aligned to their total size, one reference each. */
  *zallocContiguous(count: number): Op<Phys> {
    yield* this.#lock.lock();
    let first = this.#takeUntouched(count);
    if (first < 0) first = this.#takeFreed(count);
    yield* this.#lock.unlock();
    if (first < 0) return NO_FRAME;
    for (let i = 0; i < count; i++) {
      const frame = this.#adopt(first + i);
      yield* fill(this.wordOf(frame), this.layout.contentBytes, 0);
    }
    return this.#frame(first);
  }

  /** Takes a reference. */
  *get(frame: Phys): Op<void> {
    yield* this.#get(this.#indexOf(frame), 1);
  }

  /**
   * Takes a reference unless the frame is free; false if it is. For callers that found the frame in a table which may drop it at any
   * time: they look again afterwards.
   */
  *tryGet(frame: Phys): Op<boolean> {
    return yield* addUnlessZero32(this.#meta(frame), 1, Order.full);
  }

  /** As {@link get}, a reference for a moment, which {@link unpin} drops. */
  *pin(frame: Phys): Op<void> {
    yield* this.#get(this.#indexOf(frame), PIN);
  }

  /** As {@link tryGet}, such a reference. */
  *tryPin(frame: Phys): Op<boolean> {
    return yield* addUnlessZero32(this.#meta(frame), PIN, Order.full);
  }

  /** As {@link put}, such a reference. */
  *unpin(frame: Phys): Op<boolean> {
    return yield* this.#put(this.#indexOf(frame), PIN);
  }

  /** Drops a reference; the last one poisons and frees the frame. True if it did. */
  *put(frame: Phys): Op<boolean> {
    return yield* this.#put(this.#indexOf(frame), 1);
  }

  /** References, pins included. */
  *count(frame: Phys): Op<number> {
    return yield* this.#count(this.#indexOf(frame));
  }

  /** Whose contents the frame holds: a tag of its user's choice. A free frame, and one of nobody, has 0. */
  *owner(frame: Phys): Op<number> {
    return yield* load32(this.#meta(frame) + OWNER, Order.once);
  }

  /** The owner by any word of the frame's contents, without an operation: for who can reach the frame, so that it stays what it is. */
  ownerAt(at: Word): number {
    return read32(this.#metaOf(this.#indexAt(at)) + OWNER);
  }

  /** Gives the frame, of which the caller has a reference, to another owner. */
  *own(frame: Phys, owner: number): Op<void> {
    yield* store32(this.#meta(frame) + OWNER, owner, Order.once);
  }

  /** The same three by any word of the frame's contents. */
  *getAt(at: Word): Op<void> {
    yield* this.#get(this.#indexAt(at), 1);
  }

  *putAt(at: Word): Op<boolean> {
    return yield* this.#put(this.#indexAt(at), 1);
  }

  *countAt(at: Word): Op<number> {
    return yield* this.#count(this.#indexAt(at));
  }

  /**
   * A word for whoever holds the last reference to a frame, by any word of its contents: the link of the free list, in which it is not. A note
   * stays with it. (The kernel's `rcu_head` and `private` of a page.)
   */
  recordOf(at: Word, note: number): Word {
    const meta = this.#metaOf(this.#indexAt(at));
    write32(meta + OWNER, note);
    return meta + LINK;
  }

  /** What {@link recordOf} was asked for: where the contents begin, and the note. */
  recorded(record: Word): { readonly at: Word; readonly note: number } {
    const { contents, contentBytes, meta } = this.layout;
    const index = (record - LINK - meta) / META_BYTES;
    return { at: contents + index * contentBytes, note: read32(record - LINK + OWNER) };
  }

  /** Byte offset in shared memory of a physical address of the zone; only the first `contentBytes` bytes of a frame exist. */
  wordOf(address: Phys): Word {
    if (!this.contains(address)) throw new Error(`no frame at 0x${address.toString(16)}`);
    return this.placeOf(address);
  }

  /** The same unchecked, for hardware: by a table that was freed it comes to any address, and reads whatever is at some word. */
  placeOf(address: Phys): Word {
    const offset = address - this.layout.base;
    const { contents, contentBytes, frameBytes } = this.layout;
    if (contentBytes === frameBytes) return (contents + offset) >>> 0;
    const index = Math.floor(offset * this.#frameInverse);
    return contents + index * contentBytes + (offset - index * frameBytes);
  }

  /** Frames ever handed out and frames on the free list: for accounting while nothing runs. */
  accounts(): { readonly used: number; readonly free: number } {
    return {
      used: read32(this.layout.state + STATE.used),
      free: read32(this.layout.state + STATE.freeCount),
    };
  }

  /** Whether every frame is handed out: a look without the lock, for whoever explains a failure. */
  get isExhausted(): boolean {
    const { used, free } = this.accounts();
    return free === 0 && used >= this.layout.frames;
  }

  *#count(index: number): Op<number> {
    const count = yield* load32(this.#metaOf(index), Order.once);
    return (count & (PIN - 1)) + Math.floor(count / PIN);
  }

  /** `one`: 1, or a {@link PIN}. */
  *#get(index: number, one: number): Op<void> {
    const before = yield* add32(this.#metaOf(index), one, Order.once, REFERENCES);
    if (before < 1) throw new Error(`reference taken on free frame ${index}`);
  }

  *#put(index: number, one: number): Op<boolean> {
    const before = yield* add32(this.#metaOf(index), -one, Order.full, REFERENCES);
    if (before < one) throw new Error(`reference dropped on free frame ${index}`);
    if (before > one) return false;
    yield* this.#free(index);
    return true;
  }

  *#free(index: number): Op<void> {
    write32(this.#metaOf(index) + OWNER, 0);
    const contents = this.layout.contents + index * this.layout.contentBytes;
    yield* fill(contents, this.layout.contentBytes, POISON_BYTE);
    event(EventKind.frameFree, contents, 0, 0);
    yield* this.#lock.lock();
    this.#push(index);
    yield* this.#lock.unlock();
  }

  #take(): number {
    const { state } = this.layout;
    const head = read32(state + STATE.freeHead);
    if (head !== 0) {
      write32(state + STATE.freeHead, read32(this.#metaOf(head - 1) + LINK));
      write32(state + STATE.freeCount, read32(state + STATE.freeCount) - 1);
      return head - 1;
    }
    const used = read32(state + STATE.used);
    if (used >= this.layout.frames) return -1;
    write32(state + STATE.used, used + 1);
    return used;
  }

  /** From the untouched end of the zone; what alignment skips goes to the free list. */
  #takeUntouched(count: number): number {
    const { state, frames } = this.layout;
    const used = read32(state + STATE.used);
    const first = Math.ceil(used / count) * count;
    if (first + count > frames) return -1;
    write32(state + STATE.used, first + count);
    for (let skipped = used; skipped < first; skipped++) this.#push(skipped);
    return first;
  }

  /** From the free list, of which it takes one pass to find a whole aligned group and one to take it out. */
  #takeFreed(count: number): number {
    const { state } = this.layout;
    const free = read32(state + STATE.freeCount);
    const found = new Map<number, number>();
    let head = free < count ? 0 : read32(state + STATE.freeHead);
    for (; head !== 0; head = read32(this.#metaOf(head - 1) + LINK)) {
      const group = Math.floor((head - 1) / count);
      const members = (found.get(group) ?? 0) + 1;
      found.set(group, members);
      if (members < count) continue;
      this.#unlink(group * count, count);
      write32(state + STATE.freeCount, free - count);
      return group * count;
    }
    return -1;
  }

  /** Takes the frames `first`..`first + count - 1` out of the free list, the order of the others kept. */
  #unlink(first: number, count: number): void {
    let link = this.layout.state + STATE.freeHead;
    for (let left = count; left > 0;) {
      const index = read32(link) - 1;
      const next = this.#metaOf(index) + LINK;
      if (index >= first && index < first + count) {
        write32(link, read32(next));
        left--;
      } else link = next;
    }
  }

  #push(index: number): void {
    const { state } = this.layout;
    write32(this.#metaOf(index) + LINK, read32(state + STATE.freeHead));
    write32(state + STATE.freeHead, index + 1);
    write32(state + STATE.freeCount, read32(state + STATE.freeCount) + 1);
  }

  /** The frame is the caller's alone now. */
  #adopt(index: number): Phys {
    if (read32(this.#metaOf(index)) !== 0)
      throw new Error(`frame ${index} was free with references`);
    write32(this.#metaOf(index), 1);
    const frame = this.#frame(index);
    event(EventKind.frameAlloc, this.wordOf(frame), 0, 0);
    return frame;
  }

  #frame(index: number): Phys {
    return (this.layout.base + index * this.layout.frameBytes) as Phys;
  }

  #indexOf(frame: Phys): number {
    return Math.floor((frame - this.layout.base) * this.#frameInverse);
  }

  #indexAt(at: Word): number {
    return (at - this.layout.contents) >>> this.#contentShift;
  }

  #metaOf(index: number): Word {
    return this.layout.meta + index * META_BYTES;
  }

  #meta(frame: Phys): Word {
    return this.#metaOf(this.#indexOf(frame));
  }
}

/** The machine's memory map. `devices`: registers, which read as what was written; frames that nobody allocates. */
export class PhysicalMemory {
  readonly guest: FrameZone;
  readonly tables: FrameZone;
  readonly devices: FrameZone;

  constructor(guest: FrameZone, tables: FrameZone, devices: FrameZone) {
    this.guest = guest;
    this.tables = tables;
    this.devices = devices;
  }

  /** Byte offset in shared memory of a physical address of any zone. */
  wordOf(address: Phys): Word {
    if (address >= TABLE_RAM_BASE) return this.tables.placeOf(address);
    return address >= GUEST_RAM_BASE ? this.guest.placeOf(address) : this.devices.placeOf(address);
  }

  /** Whose contents a guest reaches by a word: see `FrameZone.ownerAt`. */
  ownerAt(at: Word): number {
    return this.devices.hasWord(at) ? this.devices.ownerAt(at) : this.guest.ownerAt(at);
  }
}
