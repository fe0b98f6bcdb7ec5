/**
 * Invariant 29: who adds a permission invalidates on its own CPU alone (6.5 on), so that another one faults once more at most, adds nothing, and
 * invalidates its own. It ends there if a CPU that invalidated a page uses no translation of it that allows less than the leaf did then.
 *
 * `stale-tlb`: it does.
 *
 * Cannot see: a handler that invalidates nothing (the oracle `livelock` does); other pages of a block; anything once the entry has changed.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import { allowsNoMore, differInPlace, ipaOfTlbEvent, isValid } from './entry-bits.ts';
import type { Findings } from './finding.ts';
import type { Invalidations } from './invalidations.ts';
import { entryText } from './names.ts';
import type { TableCheck } from './table-check.ts';
import type { Entry, EntryChange, Tables } from './tables.ts';

export class LocalTlbi implements TableCheck {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #findings: Findings;
  /** The leaf as it was when a CPU invalidated a page, by the CPU's line and the page. */
  readonly #leaves = new Map<number, Map<number, Entry>>();

  constructor(tables: Tables, invalidations: Invalidations, findings: Findings) {
    this.#tables = tables;
    this.#invalidations = invalidations;
    this.#findings = findings;
  }

  reset(): void {
    this.#leaves.clear();
  }

  onEntry({ at }: EntryChange): void {
    for (const leaves of this.#leaves.values()) {
      for (const [ipa, leaf] of leaves) if (leaf.at === at) leaves.delete(ipa);
    }
  }

  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    if (kind === EventKind.tlbiLocal) this.#invalidated(record);
    else if (kind === EventKind.tlbUse) this.#used(record);
  }

  #invalidated(record: Int32Array): void {
    const vmid = record[RECORD.oldLo] as number;
    const ipa = ipaOfTlbEvent(record, this.#tables.shape.zone.frameBytes);
    const line = record[RECORD.newLo] as number;
    for (const root of this.#tables.shape.roots) {
      if (!root.isWalked || !this.#tables.isLive(root)) continue;
      if (!this.#invalidations.isOf(root, vmid)) continue;
      const leaves = this.#leaves.get(line) ?? new Map<number, Entry>();
      this.#leaves.set(line, leaves.set(ipa, this.#tables.walk(root, ipa)));
    }
  }

  #used(record: Int32Array): void {
    const { frameBytes } = this.#tables.shape.zone;
    const ipa = ipaOfTlbEvent(record, frameBytes);
    const leaf = this.#leaves.get(record[RECORD.newLo] as number)?.get(ipa);
    if (leaf === undefined || !isValid(leaf.lo)) return;
    const lo = record[RECORD.oldLo] as number;
    const hi = record[RECORD.oldHi] as number;
    if (((record[RECORD.extra] as number) & 3) !== leaf.level) return;
    if (!differInPlace(lo, hi, leaf.lo, leaf.hi) || allowsNoMore(leaf.lo, leaf.hi, lo, hi)) return;
    const agent = (record[RECORD.agentAndKind] as number) >> 16;
    const { names } = this.#findings;
    const present = entryText(names, leaf.lo, leaf.hi);
    const message = `${names.agent(agent)} used ${entryText(names, lo, hi)} for IPA 0x${ipa.toString(16)}, which its CPU invalidated when it was ${present}`;
    const place = { at: leaf.at, ipa, bytes: frameBytes };
    this.#findings.add('stale-tlb', message, { agents: [agent], place });
  }
}
