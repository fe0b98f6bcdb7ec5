/**
 * Invariants 20 to 22, and 55 where a guest writes: what a CPU caches, and what it uses, is the present leaf or allows less; or what was
 * taken away and whose invalidation is not complete.
 *
 * `stale-tlb`: a translation was used, or filled, that is neither. `tlb-fill`: an entry was filled from a leaf that is invalid or without AF.
 *
 * Cannot see: entries that nobody uses (the run's own oracles look at memory); uses after the table is gone.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import {
  allowsNoMore,
  differInPlace,
  hasAccessFlag,
  ipaOfTlbEvent,
  isValid,
} from './entry-bits.ts';
import type { Findings } from './finding.ts';
import { entryText } from './names.ts';
import type { Invalidations } from './invalidations.ts';
import type { TableCheck } from './table-check.ts';
import type { Entry, Root, Tables } from './tables.ts';

type Leaf = Pick<Entry, 'lo' | 'hi' | 'level'>;

/** Where the words of the CPUs are. */
export interface CpuLines {
  readonly at: Word;
  readonly bytes: number;
}

export class TlbCoherence implements TableCheck {
  readonly #tables: Tables;
  readonly #invalidations: Invalidations;
  readonly #findings: Findings;
  readonly #lines: CpuLines;
  readonly #byVmid = new Map<Word, Root>();
  /** The table that a CPU walks, in the guest. */
  readonly #running = new Map<number, Root>();

  constructor(tables: Tables, invalidations: Invalidations, findings: Findings, lines: CpuLines) {
    this.#tables = tables;
    this.#invalidations = invalidations;
    this.#findings = findings;
    this.#lines = lines;
    for (const root of tables.shape.roots) if (root.isWalked) this.#byVmid.set(root.vmid, root);
  }

  reset(): void {
    this.#running.clear();
  }

  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    const operand = record[RECORD.newLo] as number;
    if (kind === EventKind.guestEnter) {
      const root = this.#byVmid.get(record[RECORD.location] as number);
      if (root !== undefined) this.#running.set(operand, root);
    } else if (kind === EventKind.guestExit) this.#running.delete(operand);
    else if (kind === EventKind.tlbUse) this.#seen(record, 'used');
    else if (kind === EventKind.tlbFill) this.#seen(record, 'filled');
  }

  #seen(record: Int32Array, how: 'used' | 'filled'): void {
    const cpu = ((record[RECORD.newLo] as number) - this.#lines.at) / this.#lines.bytes;
    const root = this.#running.get(cpu);
    if (root === undefined || !this.#tables.isLive(root)) return;
    const lo = record[RECORD.oldLo] as number;
    const hi = record[RECORD.oldHi] as number;
    const level = (record[RECORD.extra] as number) & 3;
    const { frameBytes } = this.#tables.shape.zone;
    const ipa = ipaOfTlbEvent(record, frameBytes);
    const { names } = this.#findings;
    const entry = `${entryText(names, lo, hi)} of level ${level}`;
    const agent = (record[RECORD.agentAndKind] as number) >> 16;
    const what = `${names.agent(agent)} on CPU ${cpu} ${how} ${entry} for IPA 0x${ipa.toString(16)}`;
    const isFillWrong = how === 'filled' && !(isValid(lo) && hasAccessFlag(lo));
    const isStale = !this.#mayCache(root, ipa, { lo, hi, level });
    if (!isFillWrong && !isStale) return;
    const now = this.#tables.walk(root, ipa);
    const evidence = { agents: [agent], place: { at: now.at, ipa, bytes: frameBytes } };
    if (isFillWrong) this.#findings.add('tlb-fill', what, evidence);
    const present = `${entryText(names, now.lo, now.hi)} of level ${now.level}`;
    if (isStale) this.#findings.add('stale-tlb', `${what}, which is now ${present}`, evidence);
  }

  #mayCache(root: Root, ipa: number, cached: Leaf): boolean {
    if (covers(this.#tables.walk(root, ipa), cached)) return true;
    return this.#invalidations
      .openOf(root)
      .some((stale) => ipa >= stale.ipa && ipa < stale.ipa + stale.bytes && covers(stale, cached));
  }
}

/** Whether a cached leaf is another one, or that with less permissions. */
function covers({ lo, hi, level }: Leaf, cached: Leaf): boolean {
  if (level !== cached.level || !isValid(lo)) return false;
  return differInPlace(lo, hi, cached.lo, cached.hi) && allowsNoMore(cached.lo, cached.hi, lo, hi);
}
