/**
 * The host's user memory behind the memslots: anonymous private pages, present once touched, writable. One word per page
 * of the host page table: 0, or the frame's number plus 1. A page is a frame of the guest zone.
 *
 * Pages are pinned as get_user_pages_fast does, without a lock: take a reference, then look whether the entry still names the frame.
 */
import { Order, cas32, load32, read32, type Op, type Word } from '#port';
import type { Hva, Phys } from '../machine/address.ts';
import { NO_FRAME, type FrameZone } from '../machine/frames.ts';

/** First user address of guest memory. */
export const HVA_BASE: Hva = 0x7f00_0000_0000 as Hva;
/** Bytes of a host page table entry. */
export const HOST_PTE_BYTES = 4;

export class HostMemory {
  readonly #table: Word;
  readonly #frames: FrameZone;

  /** `table`: one zeroed word per page from {@link HVA_BASE} on. */
  constructor(table: Word, frames: FrameZone) {
    this.#table = table;
    this.#frames = frames;
  }

  /**
   * Pins the page of `hva`, faulting it in first: a zeroed frame with the host table's reference and one of the caller, which
   * `unpin` drops. {@link NO_FRAME} when the host is out of memory. May sleep: never under `mmu_lock`.
   *
   * The loop ends: each turn but the last means that another agent installed or removed this page meanwhile.
   */
  *pin(hva: Hva): Op<Phys> {
    const entry = this.#entry(hva);
    for (;;) {
      const present = yield* load32(entry, Order.acquire);
      if (present === 0) {
        if (!(yield* this.#faultIn(entry))) return NO_FRAME;
        continue;
      }
      const frame = this.#frame(present);
      if (!(yield* this.#frames.tryGet(frame))) continue;
      if ((yield* load32(entry, Order.acquire)) === present) return frame;
      yield* this.#frames.put(frame);
    }
  }

  *unpin(frame: Phys): Op<void> {
    yield* this.#frames.put(frame);
  }

  /** Frees the page of `hva` if it is present. Between the start and end of a notifier, after stage 2 was unmapped. */
  *discard(hva: Hva): Op<void> {
    const entry = this.#entry(hva);
    const present = yield* load32(entry, Order.acquire);
    if (present === 0) return;
    if (yield* cas32(entry, present, 0, Order.full)) yield* this.#frames.put(this.#frame(present));
  }

  /** The frame behind `hva`, or {@link NO_FRAME}: for checks while nothing runs. */
  lookup(hva: Hva): Phys {
    const present = read32(this.#entry(hva));
    return present === 0 ? NO_FRAME : this.#frame(present);
  }

  /** Of two vCPUs that fault in one page, one installs its frame and the other gives its own back. */
  *#faultIn(entry: Word): Op<boolean> {
    const frame = yield* this.#frames.zalloc();
    if (frame === NO_FRAME) return false;
    const { base, frameBytes } = this.#frames.layout;
    const number = (frame - base) / frameBytes;
    if (!(yield* cas32(entry, 0, number + 1, Order.full))) yield* this.#frames.put(frame);
    return true;
  }

  #frame(present: number): Phys {
    const { base, frameBytes } = this.#frames.layout;
    return (base + (present - 1) * frameBytes) as Phys;
  }

  #entry(hva: Hva): Word {
    return (
      this.#table + Math.floor((hva - HVA_BASE) / this.#frames.layout.frameBytes) * HOST_PTE_BYTES
    );
  }
}
