/**
 * Memslots: which guest frames exist, and which user addresses back them (specification sections 5A, 5K).
 *
 * Two arrays of records in shared memory, one of them read under SRCU while the other is free. Whoever holds `slots_lock` writes the
 * free one, publishes it by a count whose lowest bit names the array, and waits for the readers of the other before anything that
 * the change took away is used again:
 *  1. vCPU 0 opens a read section and finds slot 3.
 *  2. An updater publishes slots without slot 3 and unmaps its range: nothing is mapped there yet.
 *  3. vCPU 0 maps a page of slot 3. Nobody will ever unmap it.
 * With the wait between 2's two halves the page of 3 is mapped before the unmap, and goes with it.
 */
import { Order, load32, read32, signal32, write32, type Op, type Word } from '#port';
import type { Mutex } from '../locking/mutex.ts';
import type { Srcu } from '../locking/srcu.ts';
import { HIGH_WEIGHT, highHalf, lowHalf, type Gfn, type Hva } from '../machine/address.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import type { InvalidationGate } from './generations/invalidation-gate.ts';

/** Bits of a slot's flags: the first two are user space's, the last means that the slot is about to go. */
export const SlotFlag = { logDirty: 1, readonly: 2, invalid: 0x1_0000 } as const;
/** What user space may set. */
export const USER_FLAGS: number = SlotFlag.logDirty | SlotFlag.readonly;

/** What a slot is, as data. */
export interface SlotFields {
  readonly id: number;
  readonly baseGfn: Gfn;
  readonly pages: number;
  /** User address of the first page. */
  readonly hva: Hva;
  /** {@link SlotFlag} bits. */
  readonly flags: number;
}

/** Words reserved for the dirty bitmap of one slot id: `dirtyBitmapBytes(pages)` bytes. */
export interface BitmapRoom {
  readonly at: Word;
  readonly pages: number;
}

/** Where the slots of a VM live. All words start zeroed. */
export interface MemslotsLayout {
  readonly pageBytes: number;
  /** Waitable: changes published so far; bit 0 is the array to be read. */
  readonly generation: Word;
  /** Two arrays: `memslotArraysBytes(bitmaps.length)` bytes. */
  readonly arrays: Word;
  /** One for each slot id. */
  readonly bitmaps: readonly BitmapRoom[];
}

const RECORD = { pages: 0, flags: 4, gfn: 8, hva: 16 } as const;
const RECORD_BYTES = 24;

/** Bytes of both arrays for ids 0 to `ids - 1`. */
export function memslotArraysBytes(ids: number): number {
  return 2 * ids * RECORD_BYTES;
}

/** A slot as it was published: it does not change. */
export class Memslot implements SlotFields {
  readonly id: number;
  readonly baseGfn: Gfn;
  readonly pages: number;
  readonly hva: Hva;
  readonly flags: number;
  readonly pageBytes: number;
  /** Of use while the slot logs; invalid while it does not. */
  readonly bitmap: DirtyBitmap;

  constructor({ id, baseGfn, pages, hva, flags }: SlotFields, layout: MemslotsLayout) {
    this.id = id;
    this.baseGfn = baseGfn;
    this.pages = pages;
    this.hva = hva;
    this.flags = flags;
    this.pageBytes = layout.pageBytes;
    this.bitmap = new DirtyBitmap((layout.bitmaps[id] as BitmapRoom).at, pages);
  }

  /** First guest physical byte of the slot, and its size. */
  get ipa(): number {
    return this.baseGfn * this.pageBytes;
  }

  get bytes(): number {
    return this.pages * this.pageBytes;
  }

  get isReadonly(): boolean {
    return (this.flags & SlotFlag.readonly) !== 0;
  }

  /** About to be deleted or moved: whoever finds it takes it for no slot. */
  get isInvalid(): boolean {
    return (this.flags & SlotFlag.invalid) !== 0;
  }

  get hasBitmap(): boolean {
    return (this.flags & SlotFlag.logDirty) !== 0;
  }

  isLogging(): boolean {
    return this.hasBitmap && !this.isReadonly;
  }

  contains(gfn: Gfn): boolean {
    return gfn >= this.baseGfn && gfn < this.baseGfn + this.pages;
  }

  hvaOf(gfn: Gfn): Hva {
    return (this.hva + (gfn - this.baseGfn) * this.pageBytes) as Hva;
  }

  /** Sets the dirty bit of a page of a slot with a bitmap. */
  *markDirty(gfn: Gfn): Op<void> {
    if (!this.hasBitmap || !this.contains(gfn))
      throw new Error(`no dirty bit for guest frame ${gfn} in slot ${this.id}`);
    yield* this.bitmap.mark(gfn - this.baseGfn);
  }

  /** Whether the bit of the slot's page `page` is set: for checks while nothing runs. */
  isDirty(page: number): boolean {
    return this.bitmap.isDirty(page);
  }
}

/** The slots of a VM as one agent sees them. */
export class Memslots {
  readonly layout: MemslotsLayout;
  /** Orders changes; the outermost lock. */
  readonly slotsLock: Mutex;
  readonly #srcu: Srcu;
  readonly #gate: InvalidationGate;
  /** The records of one generation, decoded: in ascending order of guest frames. */
  #decoded: readonly Memslot[] = [];
  #decodedGeneration = -1;
  /** The slot that answered last: faults come in runs. */
  #recent: Memslot | undefined;

  constructor(options: {
    readonly layout: MemslotsLayout;
    readonly slotsLock: Mutex;
    readonly srcu: Srcu;
    readonly gate: InvalidationGate;
  }) {
    this.layout = options.layout;
    this.slotsLock = options.slotsLock;
    this.#srcu = options.srcu;
    this.#gate = options.gate;
  }

  hasId(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < this.layout.bitmaps.length;
  }

  /** Opens a read section, which may sleep and be nested: what is found in it stays until its end. Never under `mmu_lock`. */
  *readLock(): Op<void> {
    yield* this.#srcu.readLock();
  }

  *readUnlock(): Op<void> {
    yield* this.#srcu.readUnlock();
  }

  /** The slot of a guest frame, if there is one, be it invalid. Inside a read section. */
  *lookup(gfn: Gfn): Op<Memslot | undefined> {
    const slots = yield* this.all();
    if (this.#recent?.contains(gfn) === true) return this.#recent;
    const slot = slots.find((candidate) => candidate.contains(gfn));
    if (slot !== undefined) this.#recent = slot;
    return slot;
  }

  /** All slots in ascending order of guest frames, invalid ones too. Inside a read section. Acquire pairs with `publish`. */
  *all(): Op<readonly Memslot[]> {
    this.#srcu.assertHeld();
    return this.#decode(yield* load32(this.layout.generation, Order.acquire));
  }

  /** The same for the holder of `slots_lock`, who alone can change them. */
  *allLocked(): Op<readonly Memslot[]> {
    this.slotsLock.assertHeld();
    return this.#decode(yield* load32(this.layout.generation, Order.once));
  }

  /** The slot of an id, if there is one, for the holder of `slots_lock`. */
  *byIdLocked(id: number): Op<Memslot | undefined> {
    return ofId(yield* this.allLocked(), id);
  }

  /** The same for checks, while nothing runs. */
  byId(id: number): Memslot | undefined {
    return ofId(this.slots, id);
  }

  /** All slots for set-up and checks, while nothing runs. */
  get slots(): readonly Memslot[] {
    return this.#decode(read32(this.layout.generation));
  }

  /**
   * Replaces all slots: what `slots` leaves out is gone. On return nobody uses a slot of before any more. `slots_lock` is held and no
   * other: this waits for read sections, which take locks.
   */
  *publish(slots: readonly SlotFields[]): Op<void> {
    this.slotsLock.assertHeld();
    const generation = (yield* load32(this.layout.generation, Order.once)) + 1;
    for (let id = 0; id < this.layout.bitmaps.length; id++) {
      this.#encode(
        generation,
        id,
        slots.find((slot) => slot.id === id),
      );
    }
    // The array that this names was given back by the wait of the publication before.
    yield* this.#gate.close();
    yield* signal32(this.layout.generation, generation, Order.release);
    yield* this.#gate.open();
    yield* this.#srcu.synchronize();
  }

  #decode(generation: number): readonly Memslot[] {
    if (generation === this.#decodedGeneration) return this.#decoded;
    this.#decoded = this.layout.bitmaps
      .map((_, id) => this.#read(generation, id))
      .filter((slot) => slot.pages !== 0)
      .map((slot) => new Memslot(slot, this.layout))
      .toSorted((a, b) => a.baseGfn - b.baseGfn);
    this.#decodedGeneration = generation;
    this.#recent = undefined;
    return this.#decoded;
  }

  #read(generation: number, id: number): SlotFields {
    const at = this.#record(generation, id);
    return {
      id,
      baseGfn: readAddress(at + RECORD.gfn) as Gfn,
      pages: read32(at + RECORD.pages),
      hva: readAddress(at + RECORD.hva) as Hva,
      flags: read32(at + RECORD.flags),
    };
  }

  #encode(generation: number, id: number, slot: SlotFields | undefined): void {
    const at = this.#record(generation, id);
    write32(at + RECORD.pages, slot?.pages ?? 0);
    if (slot === undefined) return;
    write32(at + RECORD.flags, slot.flags);
    writeAddress(at + RECORD.gfn, slot.baseGfn);
    writeAddress(at + RECORD.hva, slot.hva);
  }

  #record(generation: number, id: number): Word {
    return this.layout.arrays + ((generation & 1) * this.layout.bitmaps.length + id) * RECORD_BYTES;
  }
}

function ofId(slots: readonly Memslot[], id: number): Memslot | undefined {
  return slots.find((slot) => slot.id === id);
}

function readAddress(at: Word): number {
  return (read32(at) >>> 0) + read32(at + 4) * HIGH_WEIGHT;
}

function writeAddress(at: Word, address: number): void {
  write32(at, lowHalf(address));
  write32(at + 4, highHalf(address));
}
