/**
 * The smallest secondary MMU: a word per page, sequence and count, all under one lock, as KVM keeps stage 2. An access holds the lock, so
 * an invalidation has waited for it, as it would for a TLBI.
 */
import { Order, load32, read32, store32, write32, type Op, type Word } from '#port';
import { mayReach, type HostMemory } from '../../../src/kvm/host/host-memory.ts';
import type { HvaRange, MmuNotifier } from '../../../src/kvm/host/mmu-notifier.ts';
import { SpinLock } from '../../../src/locking/spin-lock.ts';
import type { Hva, Phys } from '../../../src/machine/address.ts';
import { STATISTICS } from '../../../src/workers/statistics.ts';
import type { HostLab } from './host-lab.ts';

/** Fields of a page's word: mapped, writable, young; the frame's index above. */
const MAPPED = 1;
const WRITABLE = 2;
const YOUNG = 4;
const FRAME_SHIFT = 3;

export interface SecondaryWords {
  readonly lock: Word;
  readonly sequence: Word;
  readonly count: Word;
  readonly pages: Word;
}

const AGENTS = 8;

export function secondaryWords(lab: { take(bytes: number): Word }, pages: number): SecondaryWords {
  return {
    lock: lab.take(SpinLock.bytes(AGENTS)),
    sequence: lab.take(4),
    count: lab.take(4),
    pages: lab.take(pages * 4),
  };
}

/** One agent's view. */
export class SecondaryMmu implements MmuNotifier {
  readonly #lab: HostLab;
  readonly host: HostMemory;
  readonly #words: SecondaryWords;
  readonly #lock: SpinLock;

  constructor(lab: HostLab, host: HostMemory, words: SecondaryWords) {
    this.#lab = lab;
    this.host = host;
    this.#words = words;
    this.#lock = new SpinLock(words.lock, AGENTS, STATISTICS.locks.table_zone);
    host.subscribe(this);
  }

  *invalidateRangeStart({ hva, bytes }: HvaRange): Op<void> {
    yield* this.#lock.lock();
    yield* store32(this.#words.count, read32(this.#words.count) + 1, Order.once);
    const first = this.#lab.pageOf(hva);
    for (let page = first; page < first + bytes / this.#lab.pageBytes; page++)
      write32(this.#page(page), 0);
    yield* this.#lock.unlock();
  }

  *invalidateRangeEnd(_range: HvaRange): Op<void> {
    yield* this.#lock.lock();
    yield* store32(this.#words.sequence, read32(this.#words.sequence) + 1, Order.once);
    yield* store32(this.#words.count, read32(this.#words.count) - 1, Order.once);
    yield* this.#lock.unlock();
  }

  *changePte(hva: Hva, frame: Phys): Op<void> {
    yield* this.#lock.lock();
    if (read32(this.#words.count) === 0) throw new Error('change_pte outside a bracket');
    this.#map(this.#lab.pageOf(hva), frame, 0);
    yield* this.#lock.unlock();
  }

  *clearFlushYoung({ hva }: HvaRange): Op<boolean> {
    yield* this.#lock.lock();
    const at = this.#page(this.#lab.pageOf(hva));
    const old = read32(at);
    write32(at, old & ~YOUNG);
    yield* this.#lock.unlock();
    return (old & YOUNG) !== 0;
  }

  *clearYoung(range: HvaRange): Op<boolean> {
    return yield* this.clearFlushYoung(range);
  }

  *testYoung(_hva: Hva): Op<boolean> {
    return false;
  }

  *release(): Op<void> {}

  /** A guest's write to a word of a page: `offset` bytes in. Faults until it succeeds. */
  *write(page: number, offset: number, value: number): Op<void> {
    for (;;) {
      const at = yield* this.#enter(page, true);
      if (at !== null) {
        yield* store32(at + offset, value, Order.once);
        yield* this.#lock.unlock();
        return;
      }
      yield* this.#fault(page, true);
    }
  }

  *read(page: number, offset: number): Op<number> {
    for (;;) {
      const at = yield* this.#enter(page, false);
      if (at !== null) {
        const value = yield* load32(at + offset, Order.once);
        yield* this.#lock.unlock();
        return value;
      }
      yield* this.#fault(page, false);
    }
  }

  /** While nothing runs: pages whose mapping is not what the host has. */
  wrong(pages: number): string[] {
    return Array.from({ length: pages }, (_, page) => ({ page, word: read32(this.#page(page)) }))
      .filter(({ word }) => (word & MAPPED) !== 0)
      .map(({ page, word }) => ({ page, frame: word >> FRAME_SHIFT, word }))
      .filter(({ page, frame, word }) => {
        const entry = this.#lab.entry(page);
        const isSame = this.#lab.index(this.host.lookup(this.#lab.hva(page))) === frame;
        return !isSame || ((word & WRITABLE) !== 0 && !entry.includes('W'));
      })
      .map(
        ({ page, frame }) => `page ${page} maps ${frame}, the host has ${this.#lab.entry(page)}`,
      );
  }

  /** With the lock held on success: where the page is. An access reaches only a frame of that page. */
  *#enter(page: number, isWrite: boolean): Op<Word | null> {
    yield* this.#lock.lock();
    const word = read32(this.#page(page));
    if ((word & MAPPED) === 0 || (isWrite && (word & WRITABLE) === 0)) {
      yield* this.#lock.unlock();
      return null;
    }
    write32(this.#page(page), word | YOUNG);
    const frame = this.#lab.frame(word >> FRAME_SHIFT);
    const owner = yield* this.host.mm.pages.frames.owner(frame);
    if (!mayReach(this.host.ownerTags(this.#lab.hva(page), 1)[0] as number, owner, isWrite))
      throw new Error(`page ${page}: an access reached frame ${word >> FRAME_SHIFT} of another`);
    return this.host.mm.pages.frames.wordOf(frame);
  }

  *#fault(page: number, isWrite: boolean): Op<void> {
    const sequence = yield* load32(this.#words.sequence, Order.acquire);
    const pinned = yield* this.host.pin(this.#lab.hva(page), isWrite);
    if (pinned.status !== 'page') throw new Error(`page ${page}: ${pinned.status}`);
    yield* this.#lock.lock();
    const isOpen = (yield* load32(this.#words.count, Order.acquire)) !== 0;
    const isLate = (yield* load32(this.#words.sequence, Order.once)) !== sequence;
    if (!isOpen && !isLate) this.#map(page, pinned.frame, pinned.isWritable ? WRITABLE : 0);
    yield* this.#lock.unlock();
    yield* this.host.unpin(pinned.frame);
  }

  #map(page: number, frame: Phys, flags: number): void {
    write32(this.#page(page), (this.#lab.index(frame) << FRAME_SHIFT) | flags | MAPPED);
  }

  #page(page: number): Word {
    return this.#words.pages + page * 4;
  }
}
