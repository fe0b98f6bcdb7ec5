/**
 * Invariants 25, 34, 37 and 42 as far as pages of tables go: nobody loads or stores in a page that is free, and none is freed while somebody can
 * still come to it.
 *
 * `table-use`: an access to a page after it was freed, or a page linked with what it held before. `table-freed`: freed while a root leads to it, while a walk cache may (its TLBI is
 * not complete), while a read section is open that began before it was unlinked, or, where others held `mmu_lock` beside whoever unlinked it, without
 * a grace period since: none may have been in it this time, and who unlinks cannot know.
 *
 * Cannot see: a page that was freed early, is in use again, and is reached by its old name; the free was a finding already.
 */
import { EventKind, LockMode, RECORD, isBefore } from '../engine/events.ts';
import { isTable } from './entry-bits.ts';
import type { Findings } from './finding.ts';
import type { Holds } from './holds.ts';
import type { Invalidations } from './invalidations.ts';
import type { TableCheck } from './table-check.ts';
import type { EntryChange, TablePage, Tables } from './tables.ts';

export class TableLifetime implements TableCheck {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #holds: Holds;
  readonly #findings: Findings;
  /** Unlinked beside other walks, and no grace period since. */
  readonly #waiting = new Set<TablePage>();

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

  reset(): void {
    this.#waiting.clear();
  }

  onEntry(change: EntryChange): void {
    this.#linked(change);
    this.#unlinked(change);
  }

  /** Whatever was in it would be translations. */
  #linked({ agent, level, newLo, newHi }: EntryChange): void {
    if (!isTable(newLo, level)) return;
    const page = this.#tables.childOf(newLo, newHi);
    if (page.isZeroed) return;
    const what = `${this.#findings.names.agent(agent)} linked table page ${page.index}, which was not zeroed`;
    this.#findings.add('table-use', what, {
      agents: [agent],
      place: this.#tables.placeOfTable(page),
    });
  }

  #unlinked({ agent, root, level, oldLo, oldHi }: EntryChange): void {
    if (!root.isWalked || !isTable(oldLo, level)) return;
    if (this.#holds.of(root.mmuLock).get(agent)?.isShared !== true) return;
    this.#waiting.add(this.#tables.childOf(oldLo, oldHi));
    for (const entry of this.#tables.below(oldLo, oldHi)) {
      if (isTable(entry.lo, entry.level))
        this.#waiting.add(this.#tables.childOf(entry.lo, entry.hi));
    }
  }

  onEvent(record: Int32Array): void {
    const at = record[RECORD.location] as number;
    if (!this.#tables.hasWord(at)) {
      this.#gracePeriod(record);
      return;
    }
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const page = this.#tables.pageAt(at);
    const agent = agentAndKind >> 16;
    const who = this.#findings.names.agent(agent);
    const kind = agentAndKind & 0xffff;
    if (kind === EventKind.frameFree) this.#freed(page, agent);
    else if (isAccess(kind) && page.isFreed)
      this.#findings.add('table-use', `${who} accessed table page ${page.index}, which is free`, {
        agents: [agent],
        place: this.#tables.placeOfTable(page),
      });
  }

  /** The exclusive mode of a read section's word is a grace period, at its end. */
  #gracePeriod(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    if (kind !== EventKind.lockAcquired || record[RECORD.newHi] !== LockMode.exclusive) return;
    for (const page of this.#waiting) {
      if (page.unlinkedRoot?.sections === record[RECORD.location]) this.#waiting.delete(page);
    }
  }

  #freed(page: TablePage, agent: number): void {
    if (page.isFreed) this.#wrong(page, [agent], 'twice');
    if (page.root !== null) this.#wrong(page, [agent], 'which is linked');
    if (this.#waiting.delete(page))
      this.#wrong(page, [agent], 'which was unlinked beside other walks, without a grace period');
    for (const root of this.#tables.shape.roots) {
      if (this.#invalidations.openOf(root).some(({ table }) => table === page))
        this.#wrong(page, [agent], 'which a walk cache may hold');
      // Sections are of walks of the live table: a twin's are under a lock of their own.
      if (!root.isWalked) continue;
      for (const [reader, { since, isShared }] of this.#holds.of(root.sections)) {
        if (!isShared || page.unlinkedRoot !== root || !isBefore(since, page.unlinkedAt)) continue;
        const who = this.#findings.names.agent(reader);
        this.#wrong(page, [agent, reader], `in which ${who} may be walking`);
      }
    }
  }

  /** The first of the agents freed a page, wrongly. */
  #wrong(page: TablePage, agents: readonly [number, ...number[]], why: string): void {
    const { names } = this.#findings;
    const message = `${names.agent(agents[0])} freed table page ${page.index}, ${why}`;
    this.#findings.add('table-freed', message, { agents, place: this.#tables.placeOfTable(page) });
  }
}

/**
 * Whether an event says that somebody loads or stores. Who waits to try again does not: it has given everything back, and the page may be gone. Of
 * moments some name no word, and their numbers may be those of words.
 */
function isAccess(kind: number): boolean {
  return kind <= EventKind.copy && kind !== EventKind.retryWhen;
}
