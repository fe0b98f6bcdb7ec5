/**
 * Invariants 30 and 31: a linked page has 1 reference, and 1 for each counted entry in it. Looked at where nobody is between two steps on
 * the table: when `mmu_lock` is given back and nobody else holds it, and at the end.
 *
 * `table-count`: a page has more or less.
 *
 * Cannot see: entries of other owners, which count without being valid: no workload has any; pages that are being built or torn down.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import type { Findings } from './finding.ts';
import type { Holds } from './holds.ts';
import type { TableCheck } from './table-check.ts';
import type { EntryChange, TablePage, Tables } from './tables.ts';

export class TableCounts implements TableCheck {
  readonly #tables: Tables;
  readonly #holds: Holds;
  readonly #findings: Findings;
  /** Pages whose count or entries changed since it was looked at. */
  readonly #touched = new Set<TablePage>();

  constructor(tables: Tables, holds: Holds, findings: Findings) {
    this.#tables = tables;
    this.#holds = holds;
    this.#findings = findings;
  }

  reset(): void {
    this.#touched.clear();
  }

  onEntry({ at }: EntryChange): void {
    this.#touched.add(this.#tables.pageAt(at));
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const kind = agentAndKind & 0xffff;
    const at = record[RECORD.location] as number;
    const counted = this.#tables.pageOfCount(at);
    if (counted !== null) this.#touched.add(counted);
    if (kind !== EventKind.lockReleased) return;
    // The hold that ends is still known.
    if (this.#holds.of(at).size > 1) return;
    for (const page of this.#touched) {
      if (page.root?.mmuLock !== at) continue;
      this.#check(page, [agentAndKind >> 16]);
      this.#touched.delete(page);
    }
  }

  finish(): void {
    for (const page of this.#tables.linked) this.#check(page, []);
  }

  #check(page: TablePage, agents: readonly number[]): void {
    const { index, references, valid } = page;
    if (references === valid + 1) return;
    const message = `table page ${index} has ${references} references and ${valid} entries`;
    this.#findings.add('table-count', message, { agents, place: this.#tables.placeOfTable(page) });
  }
}
