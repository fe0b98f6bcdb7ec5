/** Hand-made events for the checkers of tables: one VM of two CPUs, tables of levels 2 and 3 with 4 KiB pages. */
import { EventKind, LockMode, RECORD } from '../../src/engine/events.ts';
import { Barrier } from '../../src/engine/port.ts';
import type { SharedEdits } from '../../src/check/entry-lock.ts';
import type { TableFinding } from '../../src/check/finding.ts';
import { TableChecker } from '../../src/check/table-checker.ts';

const PAGE = 4096;
const BASE = 0x1000_0000;
const CONTENTS = 0x10_0000;
const META = 0x8000;
const META_BYTES = 16;
const CPUS = 0x4000;
const CPU_BYTES = 128;
const ROOT_WORD = 0x100;
const VMID_WORD = 0x108;
const VMID = 5;
const MMU_LOCK = 0x200;
const SECTIONS = 0x300;

const AF = 0x400;
export const R: number = AF | 0x40;
export const RW: number = AF | 0xc0;

/** An entry by its halves. */
export type Bits = readonly [lo: number, hi: number];
export const EMPTY: Bits = [0, 0];
export const LOCKED: Bits = [0x400, 0];
/** To a table page by its number; to a page of memory; to a block of 2 MiB. */
export const table = (page: number): Bits => [(BASE + page * PAGE) | 3, 0];
export const leaf = (page: number, bits: number): Bits => [
  (0x8000_0000 | 0) + page * PAGE + 3 + bits,
  0,
];
export const block = (bits: number): Bits => [(0x8000_0000 | 0) + 1 + bits, 0];

/** Word of an entry. */
export const entryAt = (page: number, index: number): number => CONTENTS + page * PAGE + 8 * index;

/** The table as each execution begins: page 0 the root, page 1 below its first entry, both counted. */
const ROOT = 0;
const CHILD = 1;

/** The entry and the IPA of {@link labWithLeaf}. */
export const LEAF: number = entryAt(1, 7);
export const IPA: number = 7 * PAGE;

export class CheckerLab {
  readonly checker: TableChecker;
  readonly #record = new Int32Array(RECORD.words);
  readonly #words = new Map<number, Bits>();
  #sequence = 0;

  constructor(sharedEdits: SharedEdits = 'swap', hasStage1 = false, isWalked = true) {
    const root = {
      word: ROOT_WORD,
      initial: ROOT + 1,
      vmid: VMID_WORD,
      mmuLock: MMU_LOCK,
      sections: SECTIONS,
      isWalked,
    };
    const halves = new Int32Array(PAGE / 4);
    halves.set(table(CHILD));
    const zone = {
      base: BASE,
      frameBytes: PAGE,
      frames: 8,
      contents: CONTENTS,
      meta: META,
      metaBytes: META_BYTES,
    };
    const initial = [
      { index: ROOT, halves, references: 2 },
      { index: CHILD, halves: new Int32Array(PAGE / 4), references: 1 },
    ];
    const tables = { zone, roots: [root], startLevel: 2, rootPages: 1, hasStage1, initial };
    this.checker = new TableChecker({
      tables,
      cpus: { at: CPUS, bytes: CPU_BYTES },
      sharedEdits,
      names: {
        agent: (agent) => `agent ${agent}`,
        lock: (at) => (at === MMU_LOCK ? 'mmu_lock' : null),
        entry: (lo) => ((lo & 1) === 0 ? 'invalid' : 'valid'),
      },
    });
    this.#words.set(entryAt(ROOT, 0), table(CHILD));
    this.write32(VMID_WORD, VMID);
  }

  /** What was found, by verdict, at the end. */
  get verdicts(): readonly string[] {
    this.checker.finish();
    return this.findings.map(({ verdict }) => verdict);
  }

  get findings(): readonly TableFinding[] {
    return this.checker.findings;
  }

  // Locks.

  lock(agent: number, mode: keyof typeof LockMode = 'exclusive'): void {
    this.event(EventKind.lockAcquired, agent, { at: MMU_LOCK, newHi: LockMode[mode] });
  }

  unlock(agent: number, mode: keyof typeof LockMode = 'exclusive'): void {
    this.event(EventKind.lockReleased, agent, { at: MMU_LOCK, newHi: LockMode[mode] });
  }

  section(agent: number, kind: 'begin' | 'end'): void {
    const event = kind === 'begin' ? EventKind.lockAcquired : EventKind.lockReleased;
    this.event(event, agent, { at: SECTIONS, newHi: LockMode.shared });
  }

  gracePeriod(agent: number): void {
    for (const kind of [EventKind.lockAcquired, EventKind.lockReleased])
      this.event(kind, agent, { at: SECTIONS, newHi: LockMode.exclusive });
  }

  // Entries and pages.

  store(agent: number, at: number, entry: Bits): void {
    this.#put(EventKind.store64, agent, at, entry);
  }

  swap(agent: number, at: number, entry: Bits): void {
    this.#put(EventKind.cas64, agent, at, entry);
  }

  load(agent: number, at: number): void {
    const [lo, hi] = this.#words.get(at) ?? EMPTY;
    this.event(EventKind.load64, agent, { at, oldLo: lo, oldHi: hi, newLo: lo, newHi: hi });
  }

  /** The references of a page become so many. */
  count(page: number, references: number): void {
    this.write32(META + page * META_BYTES, references);
  }

  alloc(agent: number, page: number, filling = 0): void {
    this.event(EventKind.frameAlloc, agent, { at: entryAt(page, 0) });
    this.event(EventKind.fill, agent, { at: entryAt(page, 0), newLo: filling, extra: PAGE });
    this.count(page, 1);
  }

  free(agent: number, page: number): void {
    this.event(EventKind.frameFree, agent, { at: entryAt(page, 0) });
  }

  // Invalidations.

  dsb(agent: number): void {
    this.event(EventKind.barrier, agent, { extra: Barrier.dsbIshst });
  }

  /** By IPA, with the level of the leaf or 0. */
  tlbiIpa(agent: number, ipa: number, level: number): void {
    this.event(EventKind.tlbi, agent, { at: 1, oldLo: VMID, newLo: level, newHi: ipa / PAGE });
  }

  /** What combines both stages. */
  tlbiStage1(agent: number): void {
    this.event(EventKind.tlbi, agent, { at: 4, oldLo: VMID });
  }

  tlbiVmid(agent: number, vmid: number = VMID): void {
    this.event(EventKind.tlbi, agent, { at: 2, oldLo: vmid });
  }

  /** By IPA, on the CPU of the agent alone. */
  tlbiLocal(agent: number, ipa: number, vmid: number = VMID): void {
    const newLo = CPUS + agent * CPU_BYTES;
    this.event(EventKind.tlbiLocal, agent, { at: 1, oldLo: vmid, newLo, newHi: ipa / PAGE });
  }

  dsbComplete(agent: number): void {
    this.event(EventKind.dsbComplete, agent, {});
  }

  /** All of it for one IPA. */
  flush(agent: number, ipa: number, level: number): void {
    this.dsb(agent);
    this.tlbiIpa(agent, ipa, level);
    this.dsbComplete(agent);
  }

  // CPUs: agent n runs on CPU n.

  enter(agent: number): void {
    this.event(EventKind.guestEnter, agent, { at: VMID_WORD, newLo: agent });
  }

  exit(agent: number): void {
    this.event(EventKind.guestExit, agent, { at: VMID_WORD, newLo: agent });
  }

  tlb(kind: 'fill' | 'use', agent: number, ipa: number, [lo, hi]: Bits, level = 3): void {
    const event = kind === 'fill' ? EventKind.tlbFill : EventKind.tlbUse;
    const newLo = CPUS + agent * CPU_BYTES;
    this.event(event, agent, { oldLo: lo, oldHi: hi, newLo, newHi: ipa / PAGE, extra: level });
  }

  write32(at: number, value: number): void {
    this.event(EventKind.store32, 0, { at, newLo: value });
  }

  event(
    kind: EventKind,
    agent: number,
    fields: {
      at?: number;
      oldLo?: number;
      oldHi?: number;
      newLo?: number;
      newHi?: number;
      extra?: number;
    },
  ): void {
    const { at = 0, oldLo = 0, oldHi = 0, newLo = 0, newHi = 0, extra = 0 } = fields;
    this.#record.set([
      ++this.#sequence,
      (agent << 16) | kind,
      at,
      oldLo,
      oldHi,
      newLo,
      newHi,
      extra,
    ]);
    this.checker.onEvent(this.#record);
  }

  /** Another execution, from the same beginning. */
  reset(): void {
    this.checker.reset();
    this.#words.clear();
    this.#words.set(entryAt(ROOT, 0), table(CHILD));
    this.#sequence = 0;
    this.write32(VMID_WORD, VMID);
  }

  /** The next event has the number after this one. */
  numberFrom(sequence: number): void {
    this.#sequence = sequence;
  }

  #put(kind: EventKind, agent: number, at: number, [newLo, newHi]: Bits): void {
    const [oldLo, oldHi] = this.#words.get(at) ?? EMPTY;
    this.#words.set(at, [newLo, newHi]);
    this.event(kind, agent, { at, oldLo, oldHi, newLo, newHi });
  }
}

/** A leaf of page 1 with such bits was just made by agent 0, which holds mmu_lock. */
export function labWithLeaf(bits: number): CheckerLab {
  const lab = new CheckerLab();
  lab.lock(0);
  lab.store(0, LEAF, leaf(1, bits));
  lab.count(1, 2);
  return lab;
}
