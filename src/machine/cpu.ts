/**
 * A physical CPU running a guest: TLB, walk cache, its part in TLB invalidation, and guest accesses.
 *
 * Every guest access is preceded by an *access boundary*, where the CPU performs the TLBIs that were posted to it. Between
 * two boundaries it may use what it has cached; a DSB of another agent waits for the boundary (see tlbi.ts).
 */
import {
  Order,
  count,
  event,
  load32,
  read32,
  signal32,
  store32,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';
import { highHalf, type Ipa, type Level, type Phys, type Vmid } from './address.ts';
import { COMBINED_TLB_BYTES, CombinedTlb } from './combined-tlb.ts';
import { CpuWord, writeRegisters } from './cpu-words.ts';
import type { MachineFeatures } from './features.ts';
import type { PhysicalMemory } from './frames.ts';
import { LAST_LEVEL, type Geometry } from './geometry.ts';
import { HardwareWalker, addressField, stage2Regime, type Stage2Regime } from './hardware-walk.ts';
import { piecePages } from './range-tlbi.ts';
import { FSC, FaultRecord } from './syndrome.ts';
import {
  IN_HOST,
  NO_HINT,
  RING_COMMANDS,
  TlbiKind,
  answerAfter,
  type Interconnect,
  type Stage2Command,
  type TlbiCommand,
} from './tlbi.ts';
import {
  DESCRIPTOR_HI,
  DESCRIPTOR_LO,
  MISS,
  TRANSLATION_BYTES,
  TranslationArray,
} from './translation-array.ts';
import type { Stage2Registers } from './vtcr.ts';

/** What a guest does to memory. */
export type AccessKind = 'read' | 'write' | 'exec';

/** An access that faulted: see `Cpu.fault`. Offset 0 of the shared memory holds no guest byte. */
export const FAULTED: Word = 0;

/** Entries of a CPU's TLB and of its walk cache. */
const TLB_SETS = 1024;
const WALK_CACHE_SETS = 64;
/** Bytes of one CPU's caches in shared memory. */
export const CPU_CACHE_BYTES: number =
  (TLB_SETS + WALK_CACHE_SETS) * TRANSLATION_BYTES + COMBINED_TLB_BYTES;

/** What a CPU is made of. */
export interface CpuOptions {
  readonly id: number;
  readonly memory: PhysicalMemory;
  readonly geometry: Geometry;
  readonly interconnect: Interconnect;
  /** {@link CPU_CACHE_BYTES} zeroed bytes. */
  readonly caches: Word;
  readonly features: MachineFeatures;
}

/** The TLB of a CPU. */
export function tlbOf({ caches, geometry }: CpuOptions): TranslationArray {
  return new TranslationArray(caches, TLB_SETS, geometry);
}

/** Its walk cache. */
export function walkCacheOf({ caches, geometry }: CpuOptions): TranslationArray {
  return new TranslationArray(caches + TLB_SETS * TRANSLATION_BYTES, WALK_CACHE_SETS, geometry);
}

/** `extra` of the events of a TLB: level of the leaf, bits above 31 of the page's number from bit 2 on. */
export function tlbExtra(level: Level, page: number): number {
  return level | (highHalf(page) << 2);
}

const NO_REGIME: Stage2Regime = {
  root: 0 as Phys,
  vmid: 0 as Vmid,
  ipaLimit: 0,
  startLevel: 1,
  highBits: 'none',
  blockLevelMin: 1,
};

export class Cpu {
  readonly tlb: TranslationArray;
  readonly walkCache: TranslationArray;
  readonly combined: CombinedTlb;
  readonly #memory: PhysicalMemory;
  readonly #geometry: Geometry;
  readonly #xnx: boolean;
  readonly #interconnect: Interconnect;
  readonly #answer: Word;
  readonly #posted: Word;
  readonly #claimed: Word;
  readonly #walker: HardwareWalker;
  /** The words of this CPU: {@link CpuWord}. */
  readonly #line: Word;
  #regime = NO_REGIME;
  /** What the regime was decoded from. */
  #registers: Stage2Registers = { vtcr: 0, vttbr: { lo: 0, hi: 0 } };
  #inGuest = false;
  /** The record of the last fault. */
  fault: FaultRecord = new FaultRecord(0, 0, 0);
  /** Of the last access: the stage-2 leaf that it found, with or without the permission. */
  leafLevel: Level = LAST_LEVEL;
  leafLo = 0;
  leafHi = 0;

  constructor(options: CpuOptions) {
    this.#memory = options.memory;
    this.#geometry = options.geometry;
    this.#xnx = options.features.xnx;
    this.#interconnect = options.interconnect;
    this.#line = options.interconnect.answerOf(options.id);
    this.#answer = this.#line + CpuWord.answer;
    this.#posted = options.interconnect.layout.posted;
    this.#claimed = options.interconnect.layout.claimed;
    this.tlb = tlbOf(options);
    this.walkCache = walkCacheOf(options);
    this.#walker = new HardwareWalker(options.memory, options.geometry, this.walkCache);
    this.combined = new CombinedTlb(
      options.caches + (TLB_SETS + WALK_CACHE_SETS) * TRANSLATION_BYTES,
    );
  }

  /** VMID of the registers that are loaded. */
  get vmid(): Vmid {
    return this.#regime.vmid;
  }

  /** Loads the stage-2 registers of a VM; in the host only. */
  load(registers: Stage2Registers): void {
    if (this.#inGuest) throw new Error('stage-2 registers loaded in guest mode');
    writeRegisters(this.#line, registers);
    const { vtcr, vttbr } = registers;
    const { vtcr: lastVtcr, vttbr: last } = this.#registers;
    if (vtcr === lastVtcr && vttbr.lo === last.lo && vttbr.hi === last.hi) return;
    this.#registers = registers;
    this.#regime = stage2Regime(registers);
  }

  /**
   * From here on a DSB waits for this CPU. Dekker with `Interconnect.tlbi`: this stores the answer and then loads `posted` at the
   * first access boundary; the issuer stores `posted` and then loads the answer. One of the two sees the other.
   */
  *enterGuest(): Op<void> {
    yield* store32(this.#answer, answerAfter(this.#performed), Order.full);
    this.#inGuest = true;
  }

  /** No guest access happens until `enterGuest`. Pairs with the wait in `Interconnect.dsbIsh`. */
  *leaveGuest(): Op<void> {
    this.#inGuest = false;
    this.#abandonWalks();
    yield* signal32(this.#answer, IN_HOST, Order.release);
  }

  /**
   * One guest access: an access boundary, then translation. Gives the byte offset of the accessed byte in shared memory, to be
   * used before the next boundary, or {@link FAULTED} with the record in `fault`.
   */
  *access(address: Ipa, kind: AccessKind): Op<Word> {
    yield* this.boundary();
    return yield* this.translate(address, kind);
  }

  /** The access boundary: performs the TLBIs that were posted. */
  *boundary(): Op<void> {
    const posted = yield* load32(this.#posted, Order.acquire);
    if (posted !== this.#performed) yield* this.#perform(posted);
  }

  /** Stage 2 of an access, after its boundary: as {@link access}. */
  *translate(address: Ipa, kind: AccessKind): Op<Word> {
    let entry = this.tlb.find(address, LAST_LEVEL, this.#regime.vmid);
    let level: Level = LAST_LEVEL;
    if (entry === MISS) {
      if (read32(this.#line + CpuWord.blocks) !== 0) level = this.#findBlock(address);
      if (level !== LAST_LEVEL) entry = this.tlb.find(address, level, this.#regime.vmid);
      else {
        entry = yield* this.#walkAndFill(address, kind);
        if (entry === MISS) return FAULTED;
        level = this.#walker.level;
      }
    }
    const lo = read32(entry + DESCRIPTOR_LO);
    const hi = read32(entry + DESCRIPTOR_HI);
    this.tellUse(entry, address, level, lo, hi);
    this.leafLevel = level;
    this.leafLo = lo;
    this.leafHi = hi;
    if (!this.permits(lo, hi, kind)) return this.#raise(FSC.permission, level, address, kind);
    return this.reach(this.outputOf(address), address, lo);
  }

  /** An entry of a TLB, combined or not, answers for stage 2 of `address` with a leaf. Of numbers: each access comes here. */
  tellUse(entry: Word, address: Ipa, level: Level, lo: number, hi: number): void {
    const page = this.#geometry.blockNumber(address, LAST_LEVEL);
    event(EventKind.tlbUse, entry, this.#line, page | 0, lo, hi, tlbExtra(level, page));
  }

  /** S2AP and XN of a leaf against an access, from the raw halves. Guests fetch at EL1. */
  permits(lo: number, hi: number, kind: AccessKind): boolean {
    if (kind === 'read') return (lo & 0x40) !== 0;
    if (kind === 'write') return (lo & 0x80) !== 0;
    const xn = hi & 0x60_0000;
    return this.#xnx ? xn === 0 || xn === 0x60_0000 : (xn & 0x40_0000) === 0;
  }

  /** Level of a cached block that covers `address`; 3 if there is none. */
  #findBlock(address: Ipa): Level {
    for (let level = LAST_LEVEL - 1; level >= this.#regime.blockLevelMin; level--) {
      if (this.tlb.find(address, level as Level, this.#regime.vmid) !== MISS) return level as Level;
    }
    return LAST_LEVEL;
  }

  *#walkAndFill(address: Ipa, kind: AccessKind): Op<Word> {
    const walker = this.#walker;
    const result = yield* walker.walk(address, this.#regime);
    if (result === 'translation') return this.#raise(FSC.translation, walker.level, address, kind);
    // A leaf with AF clear is never cached.
    if (result === 'accessFlag') return this.#raise(FSC.access, walker.level, address, kind);
    if (walker.level !== LAST_LEVEL) write32(this.#line + CpuWord.blocks, 1);
    const { level, lo, hi } = walker;
    const entry = this.tlb.fill(address, level, this.#regime.vmid, lo, hi);
    const page = this.#geometry.blockNumber(address, LAST_LEVEL);
    event(EventKind.tlbFill, entry, this.#line, page | 0, lo, hi, tlbExtra(level, page));
    return entry;
  }

  #raise(type: number, level: Level, address: Ipa, kind: AccessKind): Word {
    this.fault = FaultRecord.ofAccess(type, level, address, kind);
    return FAULTED;
  }

  /** Where an address comes to in the leaf that was found last. */
  outputOf(address: Ipa): Phys {
    const offset = address - this.#geometry.alignDown(address, this.leafLevel);
    return (addressField(this.leafLo, this.leafHi, this.#regime.highBits) + offset) as Phys;
  }

  /** Comes to the byte at `output`, which a leaf gave for `address`. */
  reach(output: Phys, address: Ipa, leafLo: number): Word {
    const at = this.#memory.wordOf(output);
    event(EventKind.guestAccess, at, this.#geometry.blockNumber(address, LAST_LEVEL) | 0, leafLo);
    return at;
  }

  /** Performs the commands up to `posted` and answers. */
  *#perform(posted: number): Op<void> {
    // Before the first entry goes: a walk could fill it again before the last one has gone.
    this.#abandonWalks();
    const performed = this.#performed;
    const behind = (posted - performed) | 0;
    if (behind <= RING_COMMANDS) {
      for (let sequence = performed; sequence !== posted; sequence = (sequence + 1) | 0) {
        this.#invalidate(yield* this.#interconnect.read(sequence));
      }
    }
    // The ring may have wrapped over a command before it was read: its place was claimed first, perhaps not yet posted.
    const claimed = yield* load32(this.#claimed, Order.acquire);
    if (((claimed - performed) | 0) > RING_COMMANDS) this.#invalidateAll();
    write32(this.#line + CpuWord.performed, posted);
    event(EventKind.tlbiPerformed, this.#answer, posted, 0);
    yield* signal32(this.#answer, answerAfter(posted), Order.release);
  }

  /** What a command reaches (specification section 7.1). IPAS2E1 leaves combined entries alone, which no longer know their IPA. */
  #invalidate(command: TlbiCommand): void {
    if ('va' in command) this.combined.perform(command);
    else if (command.kind === TlbiKind.ipa) this.#invalidateIpa(command);
    else if (command.kind === TlbiKind.range) this.#invalidateRange(command);
    else if (command.kind === TlbiKind.all) this.#invalidateAll();
    else {
      this.tlb.invalidateVmid(command.vmid);
      this.walkCache.invalidateVmid(command.vmid);
      this.combined.invalidateVmid(command.vmid);
    }
  }

  /** Whatever translates an address of the range, or leads to one. */
  #invalidateRange(command: Stage2Command): void {
    const end = command.ipa + piecePages(command) * this.#geometry.pageBytes;
    this.tlb.invalidateRange(command.ipa, end, command.vmid);
    this.walkCache.invalidateRange(command.ipa, end, command.vmid);
  }

  #invalidateAll(): void {
    this.tlb.invalidateAll();
    this.walkCache.invalidateAll();
    this.combined.invalidateAll();
  }

  /** With a level hint only a leaf of that level has to go; without one every entry of the IPA does. */
  #invalidateIpa(command: Stage2Command): void {
    if (command.level !== NO_HINT) {
      this.tlb.invalidate(command.ipa, command.level, command.vmid);
      return;
    }
    for (let level = 0; level <= LAST_LEVEL; level++) {
      this.tlb.invalidate(command.ipa, level as Level, command.vmid);
      this.walkCache.invalidate(command.ipa, level as Level, command.vmid);
    }
  }

  /** Non-shareable TLBI: this CPU's own entries, by its own agent, in the host, where no walk is under way. */
  invalidateLocal(command: TlbiCommand): void {
    if (this.#inGuest) throw new Error('local TLBI in guest mode');
    count(this.#interconnect.statistics.local, 1);
    this.#invalidate(command);
    if (command.kind === TlbiKind.ipa) this.#tellLocal(command);
  }

  #tellLocal({ kind, vmid, ipa, level }: Stage2Command): void {
    const page = this.#geometry.blockNumber(ipa, LAST_LEVEL);
    event(EventKind.tlbiLocal, kind, this.#line, page | 0, vmid, 0, tlbExtra(level, page));
  }

  get #performed(): number {
    return read32(this.#line + CpuWord.performed);
  }

  /** What a walk read before may be what was invalidated since: it may fill nothing any more. */
  #abandonWalks(): void {
    const epoch = this.#line + CpuWord.walkEpoch;
    write32(epoch, (read32(epoch) + 1) | 0);
  }
}
