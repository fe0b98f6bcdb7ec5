/**
 * The memory of an `explore` run: plain accesses, and a reset that costs only what an execution touched.
 *
 * Each 4 KiB page is saved at its first write after `baseline()`; `restore()` copies the saved pages back. The saved copies
 * are kept: the next execution usually touches the same pages.
 */
import type { EngineMemory, Word } from './port.ts';

const PAGE_SHIFT = 12;
const PAGE_BYTES = 1 << PAGE_SHIFT;

export class ExploreMemory {
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly #bytes: Uint8Array;
  /** Per page: 1 if a write need not be noted (already noted, or there is no baseline). */
  readonly #settled: Uint8Array;
  readonly #saved = new Map<number, Uint8Array>();
  #touched: number[] = [];

  constructor(memory: EngineMemory) {
    this.words = new Int32Array(memory.buffer);
    this.floats = new Float64Array(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#settled = new Uint8Array(Math.ceil(this.#bytes.length / PAGE_BYTES)).fill(1);
  }

  /** From now on `restore` comes back to the present contents. */
  baseline(): void {
    this.#saved.clear();
    this.#touched = [];
    this.#settled.fill(0);
  }

  /** To be called before each write of a word. */
  note(at: Word): void {
    const page = at >>> PAGE_SHIFT;
    if (this.#settled[page] === 0) this.#touch(page);
  }

  /** To be called before a write of `bytes` bytes. */
  noteRange(at: Word, bytes: number): void {
    const last = (at + bytes - 1) >>> PAGE_SHIFT;
    for (let page = at >>> PAGE_SHIFT; page <= last; page++) {
      if (this.#settled[page] === 0) this.#touch(page);
    }
  }

  /** Undoes every write since the baseline or the last restore. */
  restore(): void {
    for (const page of this.#touched) {
      this.#bytes.set(this.#saved.get(page) as Uint8Array, page * PAGE_BYTES);
      this.#settled[page] = 0;
    }
    this.#touched = [];
  }

  /** Pages written since the baseline or the last restore. */
  get touchedPages(): number {
    return this.#touched.length;
  }

  #touch(page: number): void {
    this.#settled[page] = 1;
    this.#touched.push(page);
    if (this.#saved.has(page)) return;
    const start = page * PAGE_BYTES;
    this.#saved.set(page, this.#bytes.slice(start, start + PAGE_BYTES));
  }
}
