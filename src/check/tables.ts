/**
 * The stage-2 tables as the events of an execution make them: which page is linked where, what its entries hold. All checkers of tables
 * look at it; it finds nothing itself.
 *
 * A page is *linked* while a root leads to it; only then does an entry mean an address.
 */
import type { Word } from '../engine/port.ts';
import { isTable, isValid, tableAddress } from './entry-bits.ts';
import type { Place } from './last-events.ts';

/** Where table pages are. */
export interface TableZone {
  /** Physical address of the first, bytes of each, how many. */
  readonly base: number;
  readonly frameBytes: number;
  readonly frames: number;
  /** Their contents in shared memory. */
  readonly contents: Word;
  /** Their reference counts, a word every `metaBytes` bytes. */
  readonly meta: Word;
  readonly metaBytes: number;
}

/** A table of a VM. */
export interface Root {
  /** Holds the number of the first root page plus 1, or 0 for no table. */
  readonly word: Word;
  /** What the word holds when an execution begins. */
  readonly initial: number;
  /** The VM: its VMID word, its `mmu_lock`, the read sections of its walks. */
  readonly vmid: Word;
  readonly mmuLock: Word;
  readonly sections: Word;
  /** Whether CPUs walk it: a twin they do not. */
  readonly isWalked: boolean;
}

/** A page as an execution begins with it. */
export interface InitialPage {
  readonly index: number;
  readonly halves: Int32Array;
  readonly references: number;
}

export interface TablesShape {
  readonly zone: TableZone;
  readonly roots: readonly Root[];
  readonly startLevel: number;
  readonly rootPages: number;
  /** Whether guests have their stage 1 on. */
  readonly hasStage1: boolean;
  /** Pages that are not empty, or have references, when an execution begins. */
  readonly initial: readonly InitialPage[];
}

/** What an entry holds. */
export interface Entry {
  readonly at: Word;
  readonly lo: number;
  readonly hi: number;
  readonly level: number;
}

/** A store to an entry of a linked page, before the model follows it. */
export interface EntryChange {
  readonly agent: number;
  readonly at: Word;
  readonly root: Root;
  readonly level: number;
  readonly ipa: number;
  readonly bytes: number;
  readonly oldLo: number;
  readonly oldHi: number;
  readonly newLo: number;
  readonly newHi: number;
  /** Whether it was a compare-and-swap. */
  readonly isSwap: boolean;
}

export class TablePage {
  readonly index: number;
  /** Halves, low first. */
  readonly halves: Int32Array;
  readonly #initial: InitialPage | null;
  readonly #validAtFirst: number;
  root: Root | null = null;
  level = 0;
  ipa = 0;
  /** The entry that pointed to it last; 0 of a root. */
  parent: Word = 0;
  /** Entries with the valid bit. */
  valid = 0;
  references = 0;
  isFreed = false;
  /** Not yet, of a page that was used before. */
  isZeroed = true;
  /** Event at which it was unlinked last, and from where. */
  unlinkedAt = 0;
  unlinkedRoot: Root | null = null;

  /** `initial`: null if it is empty when an execution begins. */
  constructor(index: number, entries: number, initial: InitialPage | null) {
    this.index = index;
    this.halves = new Int32Array(2 * entries);
    this.#initial = initial;
    this.#validAtFirst =
      initial?.halves.filter((half, i) => i % 2 === 0 && isValid(half)).length ?? 0;
    this.reset();
  }

  /** As an execution begins with it, and not linked. */
  reset(): void {
    if (this.#initial === null) this.halves.fill(0);
    else this.halves.set(this.#initial.halves);
    this.references = this.#initial?.references ?? 0;
    this.valid = this.#validAtFirst;
    this.root = null;
    this.level = 0;
    this.ipa = 0;
    this.parent = 0;
    this.isFreed = false;
    this.isZeroed = true;
    this.unlinkedAt = 0;
    this.unlinkedRoot = null;
  }
}

const DESCRIPTOR_BYTES = 8;
const LAST_LEVEL = 3;

export class Tables {
  readonly shape: TablesShape;
  readonly #entries: number;
  readonly #end: Word;
  /** Pages that were met in any execution, by index. */
  readonly #pages: TablePage[] = [];
  readonly #initial: ReadonlyMap<number, InitialPage>;
  readonly #rootPages = new Map<Root, readonly TablePage[]>();

  constructor(shape: TablesShape) {
    this.shape = shape;
    const { contents, frames, frameBytes } = shape.zone;
    this.#entries = frameBytes / DESCRIPTOR_BYTES;
    this.#end = contents + frames * frameBytes;
    this.#initial = new Map(shape.initial.map((page) => [page.index, page]));
    this.reset();
  }

  reset(): void {
    this.#rootPages.clear();
    this.#pages.forEach((page) => page.reset());
    for (const { index } of this.shape.initial) this.#page(index);
    for (const root of this.shape.roots) this.setRoot(root, root.initial, 0);
  }

  /** Whether a word is in a table page. */
  hasWord(at: Word): boolean {
    return at >= this.shape.zone.contents && at < this.#end;
  }

  /** What an entry means by its place; null in a page that is not linked. */
  placeOf(at: Word): Pick<EntryChange, 'root' | 'level' | 'ipa' | 'bytes'> | null {
    const { root, level, ipa } = this.pageAt(at);
    if (root === null) return null;
    const { contents, frameBytes } = this.shape.zone;
    const index = ((at - contents) % frameBytes) / DESCRIPTOR_BYTES;
    const bytes = this.bytesOf(level);
    return { root, level, ipa: ipa + index * bytes, bytes };
  }

  /** The entry that points to a page, or did, and what it maps. */
  placeOfTable({ parent, ipa, level }: TablePage): Place {
    return { at: parent, ipa, bytes: this.bytesOf(level) * this.#entries };
  }

  /** The page that holds a word of a table. */
  pageAt(at: Word): TablePage {
    const { contents, frameBytes } = this.shape.zone;
    return this.#page(Math.floor((at - contents) / frameBytes));
  }

  /** The page whose count a word is; null for any other word. */
  pageOfCount(at: Word): TablePage | null {
    const { meta, metaBytes, frames } = this.shape.zone;
    const offset = at - meta;
    if (offset < 0 || offset >= frames * metaBytes || offset % metaBytes !== 0) return null;
    return this.#page(offset / metaBytes);
  }

  /** Bytes that an entry of a level maps. */
  bytesOf(level: number): number {
    return this.shape.zone.frameBytes * this.#entries ** (LAST_LEVEL - level);
  }

  /** Pages that are linked. */
  get linked(): readonly TablePage[] {
    return Object.values(this.#pages).filter(({ root }) => root !== null);
  }

  /** Whether the root word leads to a table. */
  isLive(root: Root): boolean {
    return this.#rootPages.has(root);
  }

  /** Where a walk for an address ends. */
  walk(root: Root, ipa: number): Entry {
    let { startLevel: level } = this.shape;
    const number = Math.floor(ipa / this.bytesOf(level));
    let page = this.#rootPages.get(root)?.[Math.floor(number / this.#entries)];
    for (;;) {
      const at = 2 * (Math.floor(ipa / this.bytesOf(level)) % this.#entries);
      const lo = page?.halves[at] ?? 0;
      const hi = page?.halves[at + 1] ?? 0;
      if (!isTable(lo, level))
        return { at: page === undefined ? 0 : this.#wordOf(page, at), lo, hi, level };
      page = this.#child(lo, hi);
      level++;
    }
  }

  /** Every valid entry below a table entry, tables before what is in them. */
  below(tableLo: number, tableHi: number): readonly (Entry & { readonly ipa: number })[] {
    const found: (Entry & { readonly ipa: number })[] = [];
    const page = this.#child(tableLo, tableHi);
    const { level, halves } = page;
    for (let i = 0; page.valid > 0 && i < this.#entries; i++) {
      const lo = halves[2 * i] as number;
      const hi = halves[2 * i + 1] as number;
      if (!isValid(lo)) continue;
      const at = this.#wordOf(page, 2 * i);
      found.push({ at, lo, hi, level, ipa: page.ipa + i * this.bytesOf(level) });
      if (isTable(lo, level)) found.push(...this.below(lo, hi));
    }
    return found;
  }

  /** The page that an entry points to. */
  childOf(lo: number, hi: number): TablePage {
    return this.#child(lo, hi);
  }

  /** What an entry holds, of a page that is linked or not. */
  entryAt(at: Word): Pick<Entry, 'lo' | 'hi'> {
    const { halves } = this.pageAt(at);
    const index = this.#halfOf(at);
    return { lo: halves[index] as number, hi: halves[index + 1] as number };
  }

  /** An entry changes; `sequence` is the event's number. */
  store(at: Word, lo: number, hi: number, sequence: number): void {
    const page = this.pageAt(at);
    const index = this.#halfOf(at);
    const oldLo = page.halves[index] as number;
    const oldHi = page.halves[index + 1] as number;
    page.halves[index] = lo;
    page.halves[index + 1] = hi;
    page.valid += Number(isValid(lo)) - Number(isValid(oldLo));
    if (page.root === null || (lo === oldLo && hi === oldHi)) return;
    if (isTable(oldLo, page.level)) this.#unlink(this.#child(oldLo, oldHi), sequence);
    if (!isTable(lo, page.level)) return;
    const ipa = page.ipa + (index / 2) * this.bytesOf(page.level);
    const level = page.level + 1;
    this.#link(this.#child(lo, hi), { root: page.root, level, ipa, parent: at });
  }

  /** A page is filled: with zeros when it is born, with poison when it dies. Nothing in it is an entry. */
  clear(at: Word, value: number): void {
    const page = this.pageAt(at);
    page.isZeroed = value === 0;
    page.halves.fill(0);
    page.valid = 0;
  }

  /** The root word changes. */
  setRoot(root: Root, number: number, sequence: number): void {
    for (const page of this.#rootPages.get(root) ?? []) this.#unlink(page, sequence);
    this.#rootPages.delete(root);
    if (number === 0) return;
    const { rootPages, startLevel } = this.shape;
    const pages = Array.from({ length: rootPages }, (_, i) => this.#page(number - 1 + i));
    this.#rootPages.set(root, pages);
    const reach = this.bytesOf(startLevel) * this.#entries;
    pages.forEach((page, i) =>
      this.#link(page, { root, level: startLevel, ipa: i * reach, parent: 0 }),
    );
  }

  /** Index of the low half of an entry in its page. */
  #halfOf(at: Word): number {
    const { contents, frameBytes } = this.shape.zone;
    return 2 * (((at - contents) % frameBytes) / DESCRIPTOR_BYTES);
  }

  /** Of an entry by the index of its low half. */
  #wordOf({ index }: TablePage, half: number): Word {
    const { contents, frameBytes } = this.shape.zone;
    return contents + index * frameBytes + (half / 2) * DESCRIPTOR_BYTES;
  }

  #page(index: number): TablePage {
    return (this.#pages[index] ??= new TablePage(
      index,
      this.#entries,
      this.#initial.get(index) ?? null,
    ));
  }

  #child(lo: number, hi: number): TablePage {
    const { base, frameBytes } = this.shape.zone;
    return this.#page((tableAddress(lo, hi) - base) / frameBytes);
  }

  #link(page: TablePage, link: Pick<TablePage, 'level' | 'ipa' | 'parent'> & { root: Root }): void {
    const { root, level, ipa } = Object.assign(page, link);
    for (const child of this.#tablesIn(page)) {
      const parent = this.#wordOf(page, 2 * child.index);
      const at = ipa + child.index * this.bytesOf(level);
      this.#link(child.page, { root, level: level + 1, ipa: at, parent });
    }
  }

  #unlink(page: TablePage, sequence: number): void {
    page.unlinkedAt = sequence;
    page.unlinkedRoot = page.root;
    for (const child of this.#tablesIn(page)) this.#unlink(child.page, sequence);
    page.root = null;
  }

  #tablesIn(page: TablePage): { readonly page: TablePage; readonly index: number }[] {
    const tables: { readonly page: TablePage; readonly index: number }[] = [];
    for (let index = 0; page.valid > 0 && index < this.#entries; index++) {
      const lo = page.halves[2 * index] as number;
      const hi = page.halves[2 * index + 1] as number;
      if (isTable(lo, page.level)) tables.push({ page: this.#child(lo, hi), index });
    }
    return tables;
  }
}
