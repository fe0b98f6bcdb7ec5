/**
 * Invariants 25, 37 and 42 as far as pages of tables go: nobody loads or stores in a page that is free, and none is freed while somebody can
 * still come to it.
 *
 * `table-use`: an access to a page after it was freed. `table-freed`: freed while a root leads to it, while a walk cache may (its TLBI is
 * not complete), or while a read section is open that began before it was unlinked.
 *
 * Cannot see: a page that was freed early, is in use again, and is reached by its old name; the free was a finding already.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import type { Findings } from './finding.ts';
import type { Holds } from './holds.ts';
import type { Invalidations } from './invalidations.ts';
import type { TableCheck } from './table-check.ts';
import type { TablePage, Tables } from './tables.ts';

export class TableLifetime implements TableCheck {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #holds: Holds;
  readonly #findings: Findings;

  constructor(
    tables: Tables,
    models: { readonly invalidations: Invalidations; readonly holds: Holds },
    findings: Findings,
  ) {
    this.#tables = tables;
    this.#invalidations = models.invalidations;
    this.#holds = models.holds;
    this.#findings = findings;
  }

  onEvent(record: Int32Array): void {
    const at = record[RECORD.location] as number;
    if (!this.#tables.hasWord(at)) return;
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const page = this.#tables.pageAt(at);
    const who = `agent ${agentAndKind >> 16}`;
    const kind = agentAndKind & 0xffff;
    if (kind === EventKind.frameFree) this.#freed(page, who);
    else if (kind !== EventKind.frameAlloc && page.isFreed)
      this.#findings.add('table-use', `${who} accessed table page ${page.index}, which is free`);
  }

  #freed(page: TablePage, who: string): void {
    const what = `${who} freed table page ${page.index}`;
    if (page.isFreed) this.#findings.add('table-freed', `${what} twice`);
    if (page.root !== null) this.#findings.add('table-freed', `${what}, which is linked`);
    for (const root of this.#tables.shape.roots) {
      if (this.#invalidations.openOf(root).some(({ table }) => table === page))
        this.#findings.add('table-freed', `${what}, which a walk cache may hold`);
      for (const [reader, { since, isShared }] of this.#holds.of(root.sections)) {
        if (isShared && page.unlinkedRoot === root && since < page.unlinkedAt)
          this.#findings.add('table-freed', `${what}, in which agent ${reader} may be walking`);
      }
    }
  }
}
