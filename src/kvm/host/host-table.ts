/**
 * The host page table, flat: a word per page and per block. An address is mapped at one level at most. Everything is changed under the
 * page-table lock; `load` reads without it, so a store is one atomic word and a block and its pages never stand side by side.
 */
import { Order, load32, read32, store32, write32, type Op, type Word } from '#port';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { Hva, Level, Phys } from '../../machine/address.ts';
import { LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import { HOST_PTE_BYTES, NO_PTE, numberOf, type HostPte } from './host-pte.ts';
import { HVA_BASE, type HostLevelLayout, type HostMemoryLayout } from './layout.ts';
import type { HvaRange } from './mmu-notifier.ts';

/** The level that has `populated` counts. */
const BLOCK: Level = 2;

/** An entry that was looked at. An empty one is of the last level. */
export interface HostEntry {
  readonly at: Word;
  readonly level: Level;
  readonly pte: HostPte;
  /** First address that it maps. */
  readonly hva: Hva;
}

export class HostTable {
  /** page_table_lock: inside the mmap lock, outside `mmu_lock`. */
  readonly lock: SpinLock;
  readonly geometry: Geometry;
  readonly #levels: readonly HostLevelLayout[];
  readonly #populated: Word;
  readonly #hasBlocks: boolean;

  constructor(layout: HostMemoryLayout, lock: SpinLock) {
    this.lock = lock;
    this.geometry = layout.geometry;
    this.#levels = layout.levels;
    this.#populated = layout.populated;
    this.#hasBlocks = layout.vmas.some(({ kind }) => kind === 'transparentHuge');
  }

  /** The entry of an address, without the lock: what it was a moment ago. */
  *load(hva: Hva): Op<HostEntry> {
    for (const layout of this.#levels) {
      const at = this.#word(layout, hva);
      const pte = (yield* load32(at, Order.acquire)) as HostPte;
      if (pte !== NO_PTE || layout.level === LAST_LEVEL) return this.#entry(layout, hva, pte);
    }
    throw new Error('a host table without pages');
  }

  /** The entry of an address under the lock; without it only while nothing runs. */
  find(hva: Hva): HostEntry {
    for (const layout of this.#levels) {
      const pte = read32(this.#word(layout, hva)) as HostPte;
      if (pte !== NO_PTE || layout.level === LAST_LEVEL) return this.#entry(layout, hva, pte);
    }
    throw new Error('a host table without pages');
  }

  /** Stores the entry of `level` that holds `hva`; the release pairs with `load`. */
  *setLocked(hva: Hva, level: Level, pte: HostPte): Op<void> {
    this.lock.assertHeld();
    const layout = this.#levels.find((each) => each.level === level);
    if (layout === undefined) throw new Error(`no area has entries of level ${level}`);
    const at = this.#word(layout, hva);
    if (this.#hasBlocks && level === LAST_LEVEL) this.#count(hva, read32(at) as HostPte, pte);
    yield* store32(at, pte, Order.release);
  }

  /**
   * Whether the entry that holds `hva` is still the one that was looked at: the same place as well as the same value, which the entry of
   * a block's first page has after a split. The lock is held.
   */
  isUnchangedLocked(entry: HostEntry, hva: Hva): boolean {
    this.lock.assertHeld();
    const { at, pte } = this.find(hva);
    return at === entry.at && pte === entry.pte;
  }

  /** The same without the lock, for whoever has taken a reference since and asks whether it was in time. */
  *isUnchanged(entry: HostEntry): Op<boolean> {
    return (yield* load32(entry.at, Order.acquire)) === entry.pte;
  }

  /** Whether the block of level 2 around `hva` maps nothing: neither as a block nor by pages. The lock is held. */
  isEmptyBlockLocked(hva: Hva): boolean {
    this.lock.assertHeld();
    return this.find(hva).level === LAST_LEVEL && read32(this.#populatedWord(hva)) === 0;
  }

  /** The block of level 2 around an address. */
  blockAt(hva: Hva): HvaRange {
    const bytes = this.geometry.sizeOf(BLOCK);
    return { hva: this.geometry.alignDown(hva, BLOCK) as Hva, bytes };
  }

  /** What an entry maps. */
  rangeOf(entry: HostEntry): HvaRange {
    return { hva: entry.hva, bytes: this.geometry.sizeOf(entry.level) };
  }

  /** The number in an entry, moved on to the page of `hva`. */
  numberAt(entry: HostEntry, hva: Hva): number {
    return numberOf(entry.pte) + this.pageIn(entry.hva, hva);
  }

  /** The physical address of the page of `hva`, where the entry holds a page frame number. */
  physAt(entry: HostEntry, hva: Hva): Phys {
    return (this.numberAt(entry, hva) * this.geometry.pageBytes) as Phys;
  }

  /** Pages from `first` to `hva`. */
  pageIn(first: Hva, hva: Hva): number {
    return this.geometry.blockNumber(hva - first, LAST_LEVEL);
  }

  #entry(layout: HostLevelLayout, hva: Hva, pte: HostPte): HostEntry {
    const { level } = layout;
    const first = this.geometry.alignDown(hva, level) as Hva;
    return { at: this.#word(layout, hva), level, pte, hva: first };
  }

  #word({ level, entries }: HostLevelLayout, hva: Hva): Word {
    return entries + this.geometry.blockNumber(hva - HVA_BASE, level) * HOST_PTE_BYTES;
  }

  #populatedWord(hva: Hva): Word {
    return this.#populated + this.geometry.blockNumber(hva - HVA_BASE, BLOCK) * HOST_PTE_BYTES;
  }

  #count(hva: Hva, old: HostPte, pte: HostPte): void {
    const change = (pte === NO_PTE ? 0 : 1) - (old === NO_PTE ? 0 : 1);
    const at = this.#populatedWord(hva);
    if (change !== 0) write32(at, read32(at) + change);
  }
}
