/** The host's user memory as KVM uses it: areas looked up, pages pinned, their use reported back. */
import type { Op, Word } from '#port';
import { mightSleep } from '../../locking/might-sleep.ts';
import type { RwLock } from '../../locking/rw-lock.ts';
import type { Hva, Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { faultAndPin } from './fault.ts';
import { HostState, isWritable, stateOf } from './host-pte.ts';
import { Mm, type MmParts } from './mm.ts';
import type { MmuNotifier } from './mmu-notifier.ts';
import { OWNER_MERGED, OWNER_ZERO, PageFlag } from './pages.ts';
import { unpinned, type Pinned } from './pinned.ts';
import { swapPlace } from './swap-in.ts';
import { queueUserfault } from './userfault-wait.ts';
import type { Vma } from './vma.ts';

/** Whether a frame of this owner is what an access to the page with the tag `expected` may reach: reads, the zero page and merged ones too. */
export function mayReach(expected: number, owner: number, isWrite: boolean): boolean {
  return owner === expected || (!isWrite && (owner === OWNER_ZERO || owner === OWNER_MERGED));
}

export class HostMemory {
  /** What the operations of the host change. */
  readonly mm: Mm;

  constructor(parts: MmParts) {
    this.mm = new Mm(parts);
  }

  /** Outer to `mmu_lock`; held to look an area up, and for writing where areas change. */
  get mmapLock(): RwLock {
    return this.mm.mmapLock;
  }

  /** Registers the one subscriber, before anything changes. Every agent's view needs its own. */
  subscribe(notifier: MmuNotifier): void {
    this.mm.notifier = notifier;
  }

  /** The mapped area of an address, or null. The mmap lock is held. */
  *vmaAt(hva: Hva): Op<Vma | null> {
    return this.mm.vmas.at(hva);
  }

  /**
   * Pins the page of `hva` (get_user_pages), faulting it in first: its frame with one more reference, which `unpin` drops. May sleep,
   * for as long as a handler of userfaults takes, and takes the mmap lock: never under `mmu_lock`.
   */
  *pin(hva: Hva, isWrite: boolean): Op<Pinned> {
    mightSleep();
    for (;;) {
      const fast = yield* this.#pinFast(hva, isWrite);
      const pinned = fast ?? (yield* this.#pinSlow(hva, isWrite));
      if (pinned !== null) return pinned;
    }
  }

  /** Drops the reference of a pinned page; a device has none. */
  *unpin(frame: Phys): Op<void> {
    const { frames } = this.mm.pages;
    if (frames.contains(frame)) yield* frames.unpin(frame);
  }

  /** Notes that the guest used a page, of which the caller has a reference: it is not reclaimed at once. */
  *markAccessed(frame: Phys): Op<void> {
    yield* this.#mark(frame, PageFlag.accessed);
  }

  /** Notes that the guest may write it. */
  *markDirty(frame: Phys): Op<void> {
    yield* this.#mark(frame, PageFlag.dirty);
  }

  /** Of each of the `count` pages from `first` on, which lie in one area: the tag of the frame that a guest reaches; see {@link mayReach}. */
  ownerTags(first: Hva, count: number): number[] {
    const { vmas, pages, geometry } = this.mm;
    const area = vmas.covering(first);
    if (area === null) throw new Error(`no area for user address 0x${first.toString(16)}`);
    return Array.from({ length: count }, (_, i) =>
      pages.ownerTag(area, (first + i * geometry.pageBytes) as Hva),
    );
  }

  /** The frame that the page table, or a device, has behind `hva`, or {@link NO_FRAME}: for checks while nothing runs. */
  lookup(hva: Hva): Phys {
    const { table, pages } = this.mm;
    const device = this.#deviceOf(hva);
    if (device !== null) return device.frame;
    const entry = table.find(hva);
    const state = stateOf(entry.pte);
    const isPresent = state === HostState.page || state === HostState.zero;
    return isPresent ? pages.frameOf(table.numberAt(entry, hva)) : NO_FRAME;
  }

  /** Whether the page table lets the page of `hva` be written: for checks while nothing runs. */
  isWritable(hva: Hva): boolean {
    return this.#deviceOf(hva)?.isWritable ?? isWritable(this.mm.table.find(hva).pte);
  }

  /** Where the contents of the page of `hva`, no device's, are, in a frame or in swap; null for a page never written: for checks while nothing runs. */
  contentsOf(hva: Hva): Word | null {
    const { table, swap, pages } = this.mm;
    const entry = table.find(hva);
    if (stateOf(entry.pte) === HostState.swapped) return swap.wordOf(swapPlace(this.mm, entry));
    const frame = this.lookup(hva);
    return frame === NO_FRAME ? null : pages.frames.wordOf(frame);
  }

  /** Of device memory, which needs no entry to be there. */
  #deviceOf(hva: Hva): { readonly frame: Phys; readonly isWritable: boolean } | null {
    const area = this.mm.vmas.covering(hva);
    if (area === null || area.kind !== 'pfnmap') return null;
    const frame = area.pgoff * this.mm.geometry.pageBytes + hva - area.hva;
    return { frame: frame as Phys, isWritable: area.isWritable };
  }

  /**
   * Without a lock: reference, then look again. The schedule it prevents: A finds frame 5 in the entry; B unmaps it, frees it, and 5 goes
   * to another page; A takes a reference of what is no longer its page. Looking again, A finds another entry and drops it.
   */
  *#pinFast(hva: Hva, isWrite: boolean): Op<Pinned | null> {
    const { table, pages } = this.mm;
    const entry = yield* table.load(hva);
    const { pte, level } = entry;
    if (stateOf(pte) !== HostState.page || (isWrite && !isWritable(pte))) return null;
    const frame = pages.frameOf(table.numberAt(entry, hva));
    if (!(yield* pages.frames.tryPin(frame))) return null;
    if (yield* table.isUnchanged(entry))
      return { status: 'page', frame, isWritable: isWritable(pte), level };
    yield* pages.frames.unpin(frame);
    return null;
  }

  /**
   * Under the mmap lock; null after a wait for the process to resolve the fault. That lock is dropped while waiting, so the area may be
   * another by then, or gone.
   */
  *#pinSlow(hva: Hva, isWrite: boolean): Op<Pinned | null> {
    yield* this.mmapLock.readLock();
    const area = this.mm.vmas.at(hva);
    if (area === null || (isWrite && !area.isWritable)) {
      yield* this.mmapLock.readUnlock();
      return unpinned('fault');
    }
    const fault = { area, hva, isWrite };
    const pinned = yield* faultAndPin(this.mm, fault);
    const queue = pinned.status === 'userfault' ? this.mm.queueOf(area) : null;
    const seen = queue === null ? null : yield* queueUserfault(this.mm, queue, fault);
    yield* this.mmapLock.readUnlock();
    if (queue === null) return pinned;
    if (seen !== null) yield* queue.awaitWoken(seen);
    return null;
  }

  *#mark(frame: Phys, flag: number): Op<void> {
    if (this.mm.pages.frames.contains(frame)) yield* this.mm.pages.mark(frame, flag);
  }
}
