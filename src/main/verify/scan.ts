/** What a stage-2 table holds after a run: its leaves, each table page with its counted entries, and its digest, in one walk. */
import type { Op, Word } from '#port';
import type { Level } from '../../machine/address.ts';
import type { Descriptor } from '../../machine/descriptor.ts';
import { TableDigest } from '../../pgtable/digest.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import { childOf, type Pgtable } from '../../pgtable/pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from '../../pgtable/walker.ts';

export interface ScannedLeaf {
  readonly entry: Descriptor;
  readonly level: Level;
}

export class TableScan implements Visitor {
  readonly flags: number = Visit.leaf | Visit.tablePre;
  /** By first IPA. */
  readonly leaves: Map<number, ScannedLeaf> = new Map();
  /** Counted entries by the first word of a table page, root pages included. */
  readonly counted: Map<Word, number> = new Map();
  readonly digest: TableDigest = new TableDigest();
  readonly #pgt: Pgtable;

  constructor(pgt: Pgtable) {
    this.#pgt = pgt;
    const root = pgt.ops.wordOf(pgt.pgd);
    for (let i = 0; i < pgt.pgdPages; i++) this.counted.set(root + i * pgt.geometry.pageBytes, 0);
  }

  *visit(context: VisitContext, reason: Visit): Op<Outcome> {
    const { entry, old, addr, level } = context;
    if (!old.isValid()) return 'ok';
    this.digest.add(old, addr, level);
    const table = entry - (entry % this.#pgt.geometry.pageBytes);
    this.counted.set(table, (this.counted.get(table) ?? 0) + 1);
    if (reason === Visit.leaf) this.leaves.set(addr, { entry: old, level });
    else {
      const child = childOf(this.#pgt, old);
      this.counted.set(child, this.counted.get(child) ?? 0);
    }
    return 'ok';
  }
}

/** Scans the whole table. */
export function* scanTable(pgt: Pgtable): Op<TableScan> {
  const scan = new TableScan(pgt);
  const outcome = yield* walk(pgt, 0, pgt.iaLimit, scan);
  if (outcome !== 'ok') throw new Error(`scanTable: ${outcome}`);
  return scan;
}
