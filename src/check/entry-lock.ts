/**
 * Invariants 8, 39, 40 and 45 (that a walk that lost changes nothing): who stores to an entry of a linked page holds `mmu_lock`, in the mode
 * that the change needs. Alone: whatever it likes, but for entries that another walk has LOCKED. Beside other readers: an edit in place; from 6.2 on by
 * compare-and-swap; and the way through LOCKED, by compare-and-swap in and by its owner alone out (docs/locked-entries.md).
 *
 * `entry-lock`: a store by anybody else, or in another way; and a LOCKED entry that its owner leaves behind.
 *
 * Cannot see: whether what is stored was decided under the same hold; the sides of a twin's own lock.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import { differInPlace, isLocked, isValid } from './entry-bits.ts';
import type { Findings } from './finding.ts';
import type { Holds } from './holds.ts';
import type { Place } from './last-events.ts';
import { entryText } from './names.ts';
import type { TableCheck } from './table-check.ts';
import type { EntryChange, Root, Tables } from './tables.ts';

/** How readers change entries: not at all or by a store (`5.18`), or by compare-and-swap (`6.12`). */
export type SharedEdits = 'store' | 'swap';

interface Locked {
  readonly agent: number;
  readonly root: Root;
  readonly place: Place;
}

export class EntryLock implements TableCheck {
  readonly #tables: Tables;
  readonly #holds: Holds;
  readonly #findings: Findings;
  readonly #edits: SharedEdits;
  readonly #locked = new Map<Word, Locked>();

  constructor(
    { tables, holds }: { readonly tables: Tables; readonly holds: Holds },
    findings: Findings,
    edits: SharedEdits,
  ) {
    this.#tables = tables;
    this.#holds = holds;
    this.#findings = findings;
    this.#edits = edits;
  }

  reset(): void {
    this.#locked.clear();
  }

  onEntry(change: EntryChange): void {
    const { at, agent, root, newLo, newHi } = change;
    const wrong = this.#wrong(change);
    if (wrong !== null) {
      const { names } = this.#findings;
      const entry = `${entryText(names, newLo, newHi)} for IPA 0x${change.ipa.toString(16)}`;
      const owner = this.#locked.get(at)?.agent ?? agent;
      this.#findings.add('entry-lock', `${names.agent(agent)} stored ${entry} ${wrong}`, {
        agents: [agent, owner],
        place: change,
      });
    }
    if (isLocked(newLo, newHi)) this.#locked.set(at, { agent, root, place: change });
    else this.#locked.delete(at);
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    if ((agentAndKind & 0xffff) !== EventKind.lockReleased) return;
    const agent = agentAndKind >> 16;
    for (const [at, { agent: owner, root, place }] of this.#locked) {
      if (owner !== agent || root.mmuLock !== record[RECORD.location]) continue;
      const { lo, hi } = this.#tables.entryAt(at);
      if (!isLocked(lo, hi)) {
        // Its table was replaced before it was made, which then changes nothing that anybody walks.
        this.#locked.delete(at);
        continue;
      }
      const message = `${this.#findings.names.agent(agent)} unlocked with an entry LOCKED`;
      this.#findings.add('entry-lock', message, { agents: [agent], place });
    }
  }

  /** What is wrong with a store; null if nothing is. */
  #wrong({ at, root, agent, oldLo, oldHi, newLo, newHi, isSwap }: EntryChange): string | null {
    const hold = this.#holds.of(root.mmuLock).get(agent);
    if (hold === undefined) return 'without mmu_lock';
    const owner = this.#locked.get(at)?.agent ?? agent;
    if (owner !== agent) return `over the LOCKED of ${this.#findings.names.agent(owner)}`;
    if (!hold.isShared || !root.isWalked) return null;
    if (isLocked(oldLo, oldHi)) return null;
    const isEdit = isValid(oldLo) && isValid(newLo) && differInPlace(oldLo, oldHi, newLo, newHi);
    if (this.#edits === 'store') return isEdit ? null : 'beside other readers';
    if (!isSwap) return 'beside other readers, without compare-and-swap';
    return isEdit || isLocked(newLo, newHi) ? null : 'beside other readers, not through LOCKED';
  }
}
