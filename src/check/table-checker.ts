/** All checkers of tables on one stream: it reads each event once, tells the checkers, then lets the models follow. */
import { EventKind, RECORD, type EventSink } from '../engine/events.ts';
import { BreakBeforeMake } from './break-before-make.ts';
import { EntryLock, type SharedEdits } from './entry-lock.ts';
import { Findings, type TableFinding } from './finding.ts';
import { Holds } from './holds.ts';
import { Invalidations } from './invalidations.ts';
import { LastEvents } from './last-events.ts';
import { LocalTlbi } from './local-tlbi.ts';
import type { Names } from './names.ts';
import type { TableCheck } from './table-check.ts';
import { TableCounts } from './table-counts.ts';
import { TableLifetime } from './table-lifetime.ts';
import { Tables, type Root, type TablesShape } from './tables.ts';
import { TlbCoherence, type CpuLines } from './tlb-coherence.ts';

/** What there is to check. */
export interface TableCheckerOptions {
  readonly tables: TablesShape;
  readonly cpus: CpuLines;
  readonly sharedEdits: SharedEdits;
  readonly names: Names;
}

export class TableChecker implements EventSink {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #holds = new Holds();
  readonly #last: LastEvents;
  readonly #findings: Findings;
  readonly #checks: readonly TableCheck[];
  readonly #rootAt: ReadonlyMap<number, Root>;
  readonly #vmids: ReadonlySet<number>;

  constructor({ tables: shape, cpus, sharedEdits, names }: TableCheckerOptions) {
    const tables = new Tables(shape);
    const invalidations = new Invalidations(tables);
    const holds = this.#holds;
    const last = new LastEvents(names, shape.zone.frameBytes);
    const findings = new Findings(names, holds, last);
    this.#last = last;
    this.#findings = findings;
    this.#tables = tables;
    this.#invalidations = invalidations;
    this.#rootAt = new Map(shape.roots.map((root) => [root.word, root]));
    this.#vmids = new Set(shape.roots.map(({ vmid }) => vmid));
    this.#checks = [
      new BreakBeforeMake(tables, invalidations, findings),
      new TlbCoherence(tables, invalidations, findings, cpus),
      new LocalTlbi(tables, invalidations, findings),
      new TableLifetime(tables, { invalidations, holds }, findings),
      new TableCounts(tables, holds, findings),
      new EntryLock({ tables, holds }, findings, sharedEdits),
    ];
  }

  get findings(): readonly TableFinding[] {
    return this.#findings.all;
  }

  reset(): void {
    this.#tables.reset();
    this.#invalidations.reset();
    this.#holds.reset();
    this.#last.reset();
    this.#findings.clear();
    for (const check of this.#checks) check.reset?.();
  }

  /** At the end of an execution that completed. */
  finish(): void {
    for (const check of this.#checks) check.finish?.();
  }

  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    const at = record[RECORD.location] as number;
    if (kind <= EventKind.copy && kind !== EventKind.barrier && !this.#matters(at)) return;
    this.#last.onEvent(record);
    for (const check of this.#checks) check.onEvent?.(record);
    const isStore = kind === EventKind.store64 || kind === EventKind.cas64;
    if (isStore && this.#tables.hasWord(at)) this.#stored(record, kind === EventKind.cas64);
    else this.#follow(kind, at, record);
  }

  /** Whether an operation is on a word that the models know. */
  #matters(at: number): boolean {
    return (
      this.#tables.hasWord(at) ||
      this.#tables.pageOfCount(at) !== null ||
      this.#rootAt.has(at) ||
      this.#vmids.has(at)
    );
  }

  #stored(record: Int32Array, isSwap: boolean): void {
    const at = record[RECORD.location] as number;
    const oldLo = record[RECORD.oldLo] as number;
    const oldHi = record[RECORD.oldHi] as number;
    const newLo = record[RECORD.newLo] as number;
    const newHi = record[RECORD.newHi] as number;
    const place = this.#tables.placeOf(at);
    const isChange = newLo !== oldLo || newHi !== oldHi;
    if (place !== null && isChange) {
      const agent = (record[RECORD.agentAndKind] as number) >> 16;
      const change = { ...place, agent, at, oldLo, oldHi, newLo, newHi, isSwap };
      for (const check of this.#checks) check.onEntry?.(change);
      this.#invalidations.onEntry(change);
    }
    this.#tables.store(at, newLo, newHi, record[RECORD.sequence] as number);
  }

  #follow(kind: number, at: number, record: Int32Array): void {
    const value = record[RECORD.newLo] as number;
    if (kind === EventKind.fill) {
      if (this.#tables.hasWord(at)) this.#tables.clear(at, value);
    } else if (kind === EventKind.frameAlloc || kind === EventKind.frameFree) {
      if (this.#tables.hasWord(at)) this.#tables.pageAt(at).isFreed = kind === EventKind.frameFree;
    } else if (kind <= EventKind.copy && kind !== EventKind.barrier) this.#word(at, record, value);
    else {
      this.#invalidations.onEvent(record);
      this.#holds.onEvent(record);
    }
    if (kind === EventKind.barrier) this.#invalidations.onEvent(record);
  }

  /** A word outside of tables: a root, a VMID, a count. */
  #word(at: number, record: Int32Array, value: number): void {
    const root = this.#rootAt.get(at);
    if (root !== undefined && value !== record[RECORD.oldLo]) {
      this.#tables.setRoot(root, value, record[RECORD.sequence] as number);
      this.#invalidations.forget(root);
    }
    if (this.#vmids.has(at)) this.#invalidations.hasVmid(at, value);
    const page = this.#tables.pageOfCount(at);
    if (page !== null) page.references = value;
  }
}
