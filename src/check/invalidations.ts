/**
 * Which translations may still be cached: what was taken out of a linked table, or lost permissions, until whoever did it has said so to all
 * CPUs, in order: store, DSB, TLBI that reaches it, DSB (Arm ARM D8.16; the automaton is Casemate's). Of a guest with stage 1 on, combined
 * entries hold a leaf too, and a TLBI by IPA does not know them: after its DSB the VMID's stage-1 entries go, and another DSB (invariant 24).
 * Finds nothing itself.
 *
 * Deviation: a TLBI is taken for the VM's if it names any VMID that the VM had in this execution, as its word may change in between.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import { Barrier, type Word } from '../engine/port.ts';
import { allowsNoMore, differInPlace, isTable, isValid } from './entry-bits.ts';
import type { EntryChange, Root, TablePage, Tables } from './tables.ts';

/** A translation that may be cached although the table no longer has it. */
export interface Stale {
  readonly agent: number;
  readonly root: Root;
  readonly at: Word;
  readonly ipa: number;
  readonly bytes: number;
  readonly level: number;
  readonly lo: number;
  readonly hi: number;
  /** The table that the entry pointed to; null for a leaf. */
  readonly table: TablePage | null;
  /** Whether the entry was broken, or else only allows less. */
  readonly isBroken: boolean;
  /** `combined`: nothing of stage 2 alone is cached any more; `dropped`: the TLBI of combined entries is posted. */
  stage: 'stored' | 'published' | 'posted' | 'combined' | 'dropped';
  /** Whether a combined entry may hold it: those of a leaf do, until a TLBI that reaches both. */
  mayBeCombined: boolean;
}

/** A TLBI as its event tells it. */
const Tlbi = { ipa: 1, vmid: 2, all: 3, stage1: 4, range: 8 } as const;
const PAGE_4K = 4096;

export class Invalidations {
  readonly #tables: Tables;
  readonly #vmids = new Map<Root, Set<number>>();
  readonly #open = new Map<Root, Stale[]>();

  constructor(tables: Tables) {
    this.#tables = tables;
    this.reset();
  }

  reset(): void {
    for (const root of this.#tables.shape.roots) {
      this.#vmids.set(root, new Set());
      this.#open.set(root, []);
    }
  }

  /** Those of a table that are not complete. */
  openOf(root: Root): readonly Stale[] {
    return this.#open.get(root) as Stale[];
  }

  /** Nothing of a table that is gone matters: its VMID is used by nobody until all TLBs are emptied. */
  forget(root: Root): void {
    this.#open.set(root, []);
  }

  /** The VM was given a VMID. */
  hasVmid(vmidWord: number, vmid: number): void {
    for (const [root, vmids] of this.#vmids) if (root.vmid === vmidWord) vmids.add(vmid & 0xffff);
  }

  /** Whether the VM of a table had a VMID in this execution. */
  isOf(root: Root, vmid: number): boolean {
    return this.#vmids.get(root)?.has(vmid) === true;
  }

  onEntry(change: EntryChange): void {
    const { root, oldLo, oldHi, newLo, newHi } = change;
    if (!root.isWalked || !isValid(oldLo)) return;
    const isBroken = !isValid(newLo) || !differInPlace(oldLo, oldHi, newLo, newHi);
    if (!isBroken && allowsNoMore(oldLo, oldHi, newLo, newHi)) return;
    this.#add(change, { lo: oldLo, hi: oldHi, ...change }, isBroken);
    if (!isTable(oldLo, change.level)) return;
    for (const entry of this.#tables.below(oldLo, oldHi)) this.#add(change, entry, true);
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const agent = agentAndKind >> 16;
    const kind = agentAndKind & 0xffff;
    if (kind === EventKind.barrier) {
      const barrier = record[RECORD.extra] as number;
      if (barrier === Barrier.dsbIsh || barrier === Barrier.dsbIshst) this.#publish(agent);
    } else if (kind === EventKind.tlbi) this.#post(agent, record);
    else if (kind === EventKind.dsbComplete) this.#complete(agent);
  }

  #add(
    { agent, root }: EntryChange,
    entry: Pick<Stale, 'at' | 'ipa' | 'level' | 'lo' | 'hi'>,
    isBroken: boolean,
  ): void {
    const { at, ipa, level, lo, hi } = entry;
    const table = isTable(lo, level) ? this.#tables.childOf(lo, hi) : null;
    const bytes = this.#tables.bytesOf(level);
    const stale: Stale = {
      agent,
      root,
      at,
      ipa,
      bytes,
      level,
      lo,
      hi,
      table,
      isBroken,
      stage: 'stored',
      mayBeCombined: this.#tables.shape.hasStage1 && table === null,
    };
    (this.#open.get(root) as Stale[]).push(stale);
  }

  #publish(agent: number): void {
    for (const stales of this.#open.values()) {
      for (const stale of stales) {
        if (stale.agent === agent && stale.stage === 'stored') stale.stage = 'published';
      }
    }
  }

  #post(agent: number, record: Int32Array): void {
    for (const [root, stales] of this.#open) {
      const isOfVm = this.isOf(root, record[RECORD.oldLo] as number);
      if (!isOfVm && record[RECORD.location] !== Tlbi.all) continue;
      for (const stale of stales) {
        if (stale.agent === agent) this.#advance(record, stale);
      }
    }
  }

  #advance(record: Int32Array, stale: Stale): void {
    const kind = record[RECORD.location];
    if (stale.stage === 'combined' && kind === Tlbi.stage1) stale.stage = 'dropped';
    if (stale.stage !== 'published' || !this.#reaches(record, stale)) return;
    stale.stage = 'posted';
    if (kind === Tlbi.vmid || kind === Tlbi.all) stale.mayBeCombined = false;
  }

  /** Whether a command removes what caches a translation. A level hint narrows it to leaves of that level (invariant 23). */
  #reaches(record: Int32Array, { ipa, bytes, level, table }: Stale): boolean {
    const kind = record[RECORD.location];
    if (kind === Tlbi.vmid || kind === Tlbi.all) return true;
    const field = record[RECORD.newLo] as number;
    const pageHi = record[RECORD.oldHi] as number;
    const first = (pageHi * 2 ** 32 + ((record[RECORD.newHi] as number) >>> 0)) * PAGE_4K;
    if (kind === Tlbi.ipa) {
      const isMeant = field === 0 || (table === null && field === level);
      return isMeant && first >= ipa && first < ipa + bytes;
    }
    if (kind !== Tlbi.range) return false;
    const pages = ((record[RECORD.extra] as number) + 1) * (2 << (5 * field));
    const end = first + pages * this.#tables.shape.zone.frameBytes;
    return first < ipa + bytes && end > ipa;
  }

  #complete(agent: number): void {
    for (const [root, stales] of this.#open) {
      if (!stales.some((stale) => stale.agent === agent)) continue;
      this.#open.set(
        root,
        stales.filter((stale) => stale.agent !== agent || !isGone(stale)),
      );
    }
  }
}

/** A DSB is complete: whether nothing can hold it any more. What only combined entries may hold waits for theirs. */
function isGone(stale: Stale): boolean {
  if (stale.stage !== 'posted') return stale.stage === 'dropped';
  if (stale.mayBeCombined) stale.stage = 'combined';
  return !stale.mayBeCombined;
}
