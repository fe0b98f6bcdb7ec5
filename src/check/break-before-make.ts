/**
 * Invariants 17, 18, 19, 23, 24 and 25 (its first half): an entry goes from one translation to another only through an invalid value, whose
 * TLBI is complete for all that the old one translated. Automaton of a translation: mapped, broken, published, posted, complete; a make is legal
 * over nothing mapped and nothing that is not complete.
 *
 * `break-before-make`: a make over something else, or an edit in place of bits that are not permissions, AF or software's.
 * `break-not-completed`: whoever broke an entry gives `mmu_lock` back before the TLBI is complete: others may then use the memory again.
 *
 * Cannot see: tables of the hypervisor's stage 1, TLBIs on one CPU, which complete nothing here.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import { differInPlace, isValid } from './entry-bits.ts';
import type { Findings } from './finding.ts';
import { entryText } from './names.ts';
import type { Invalidations, Stale } from './invalidations.ts';
import type { TableCheck } from './table-check.ts';
import type { EntryChange, Tables } from './tables.ts';

export class BreakBeforeMake implements TableCheck {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #findings: Findings;

  constructor(tables: Tables, invalidations: Invalidations, findings: Findings) {
    this.#tables = tables;
    this.#invalidations = invalidations;
    this.#findings = findings;
  }

  onEntry(change: EntryChange): void {
    const { root, oldLo, oldHi, newLo, newHi, agent } = change;
    if (!root.isWalked || !isValid(newLo)) return;
    if (isValid(oldLo)) {
      if (differInPlace(oldLo, oldHi, newLo, newHi)) return;
      const old = entryText(this.#findings.names, oldLo, oldHi);
      this.#findings.add('break-before-make', `${this.#made(change)} in place of ${old}`, {
        agents: [agent],
        place: change,
      });
      return;
    }
    const stale = this.#invalidations
      .openOf(root)
      .find((other) => other.isBroken && overlaps(other, change));
    if (stale !== undefined)
      this.#findings.add(
        'break-before-make',
        `${this.#made(change)} while ${this.#describe(stale)}`,
        {
          agents: [agent, stale.agent],
          place: change,
        },
      );
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    if ((agentAndKind & 0xffff) !== EventKind.lockReleased) return;
    const agent = agentAndKind >> 16;
    for (const root of this.#tables.shape.roots) {
      if (root.mmuLock !== record[RECORD.location]) continue;
      const stale = this.#invalidations
        .openOf(root)
        .find((other) => other.isBroken && other.agent === agent);
      if (stale !== undefined)
        this.#findings.add(
          'break-not-completed',
          `${this.#findings.names.agent(agent)} unlocked while ${this.#describe(stale)}`,
          { agents: [agent], place: stale },
        );
    }
  }

  #made({ agent, newLo, newHi, ipa }: EntryChange): string {
    const { names } = this.#findings;
    return `${names.agent(agent)} made ${entryText(names, newLo, newHi)} for IPA 0x${ipa.toString(16)}`;
  }

  #describe({ agent, ipa, lo, hi, stage }: Stale): string {
    const { names } = this.#findings;
    const entry = `${entryText(names, lo, hi)} of IPA 0x${ipa.toString(16)}`;
    return `${entry}, broken by ${names.agent(agent)}, may be cached (${stage})`;
  }
}

function overlaps(stale: Stale, { ipa, bytes }: EntryChange): boolean {
  return stale.ipa < ipa + bytes && ipa < stale.ipa + stale.bytes;
}
