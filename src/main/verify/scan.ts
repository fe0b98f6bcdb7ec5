/**
 * What a stage-2 table holds after a run: its leaves, each table page with its counted entries, and its digest. Plain reads, entry by
 * entry: nothing else runs, and what the walker does wrong stays visible.
 */
import type { Word } from '#port';
import type { Level } from '../../machine/address.ts';
import { readDescriptor, type Descriptor } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES } from '../../machine/geometry.ts';
import { TableDigest } from '../../pgtable/digest.ts';
import { childOf, type Pgtable } from '../../pgtable/pgtable.ts';

export interface ScannedLeaf {
  readonly entry: Descriptor;
  readonly level: Level;
}

export class TableScan {
  /** By first IPA. */
  readonly leaves: Map<number, ScannedLeaf> = new Map();
  /** Counted entries by the first word of a table page, root pages included. */
  readonly counted: Map<Word, number> = new Map();
  readonly digest: TableDigest = new TableDigest();
  readonly #pgt: Pgtable;

  /** Scans the whole table. */
  constructor(pgt: Pgtable) {
    this.#pgt = pgt;
    const { geometry, startLevel, ops } = pgt;
    const root = ops.wordOf(pgt.pgd);
    const reach = geometry.sizeOf(startLevel) * geometry.entries;
    for (let page = 0; page < pgt.pgdPages; page++)
      this.#scan(root + page * geometry.pageBytes, startLevel, page * reach);
  }

  /** A table page whose first entry stands for the addresses from `base` on. */
  #scan(table: Word, level: Level, base: number): void {
    const { pageBytes } = this.#pgt.geometry;
    const size = this.#pgt.geometry.sizeOf(level);
    this.counted.set(table, this.counted.get(table) ?? 0);
    for (
      let at = table, addr = base;
      at < table + pageBytes;
      at += DESCRIPTOR_BYTES, addr += size
    ) {
      const entry = readDescriptor(at);
      if (!entry.isValid()) continue;
      this.counted.set(table, (this.counted.get(table) as number) + 1);
      this.digest.add(entry, addr, level);
      if (entry.isTable(level)) this.#scan(childOf(this.#pgt, entry), (level + 1) as Level, addr);
      else this.leaves.set(addr, { entry, level });
    }
  }
}
