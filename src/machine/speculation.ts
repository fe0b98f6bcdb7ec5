/**
 * What a CPU in guest mode does of its own accord (Arm ARM D8.2, "Out-of-context and speculative translation table walks"): it begins a walk
 * for some address, goes on with it between accesses, fills what it found, and evicts entries. Each is one transition, which the agent on the
 * CPU makes between two accesses or a daemon makes at any time; the walk stands in the words of the CPU.
 *
 * A walk outlives access boundaries, and with them DSBs. What it read before an invalidation it may fill no more:
 *   1. the walk reads a valid entry;
 *   2. software breaks the entry, posts a TLBI and waits; this CPU performs it, which removes nothing, and answers;
 *   3. the DSB returns, the page is freed, and the walk fills what it read at 1.
 * And where it has read a table entry instead, it would load from a table that is free by then. So it compares the CPU's walk epoch, which grows
 * with each invalidation performed and when the guest is left, before each transition, and gives up.
 *
 * Non-goals: walks for a VM that is not loaded, or while the CPU is in the host.
 */
import { Order, event, load32, read32, write32, type Op, type Word } from '#port';
import { EventKind } from '../engine/events.ts';
import { HIGH_WEIGHT, highHalf, lowHalf, type Ipa, type Level, type Phys } from './address.ts';
import { CpuWord, readRegisters } from './cpu-words.ts';
import { tlbExtra, tlbOf, walkCacheOf, type CpuOptions } from './cpu.ts';
import { LAST_LEVEL, type Geometry } from './geometry.ts';
import { HardwareWalker, stage2Regime, type Stage2Regime } from './hardware-walk.ts';
import { IN_HOST } from './tlbi.ts';
import type { TranslationArray } from './translation-array.ts';

/** Words of the walk, from {@link CpuWord.speculativeWalk}. */
const STATE = 0;
const EPOCH = 4;
const ADDRESS_LO = 8;
const ADDRESS_HI = 12;
const TABLE_LO = 16;
const TABLE_HI = 20;
const LEVEL = 24;
const DESCRIPTOR_LO = 28;
const DESCRIPTOR_HI = 32;

/** What a walk does next: nothing, load a descriptor, or cache the one it has. */
const State = { idle: 0, load: 1, fillTable: 2, fillLeaf: 3 } as const;

export class Speculation {
  readonly tlb: TranslationArray;
  readonly walkCache: TranslationArray;
  readonly #line: Word;
  readonly #walk: Word;
  readonly #walker: HardwareWalker;
  readonly #geometry: Geometry;

  constructor(options: CpuOptions) {
    this.#geometry = options.geometry;
    this.#line = options.interconnect.answerOf(options.id);
    this.#walk = this.#line + CpuWord.speculativeWalk;
    this.tlb = tlbOf(options);
    this.walkCache = walkCacheOf(options);
    this.#walker = new HardwareWalker(options.memory, options.geometry, this.walkCache);
  }

  /** One transition of a walk, if the CPU is in guest mode: goes on with the one that has begun, or begins one for `address`. */
  *step(address: Ipa): Op<void> {
    const answer = yield* load32(this.#line + CpuWord.answer, Order.acquire);
    if (answer === IN_HOST) return;
    const state = this.mayGoOn() ? read32(this.#walk + STATE) : State.idle;
    if (state === State.idle) this.#begin(address);
    else if (state === State.load) yield* this.#load();
    else this.#fill(state);
  }

  /** Evicts a TLB entry and a walk-cache entry, of the sets that `choice` names. */
  evict(choice: number): void {
    this.tlb.evict(choice);
    this.walkCache.evict(choice);
  }

  /** Whether nothing was invalidated since the walk began, and the guest not left. */
  mayGoOn(): boolean {
    return read32(this.#walk + EPOCH) === read32(this.#line + CpuWord.walkEpoch);
  }

  #begin(address: Ipa): void {
    const regime = this.#regime();
    if (address >= regime.ipaLimit) return;
    this.#walker.begin(address, regime);
    write32(this.#walk + ADDRESS_LO, lowHalf(address));
    write32(this.#walk + ADDRESS_HI, highHalf(address));
    write32(this.#walk + EPOCH, read32(this.#line + CpuWord.walkEpoch));
    this.#remember(State.load);
  }

  *#load(): Op<void> {
    const walker = this.#walker;
    this.#recall();
    const result = yield* walker.step(this.#address, this.#regime());
    write32(this.#walk + DESCRIPTOR_LO, walker.lo);
    write32(this.#walk + DESCRIPTOR_HI, walker.hi);
    if (result === 'table') this.#remember(State.fillTable);
    else this.#remember(result === 'leaf' ? State.fillLeaf : State.idle);
  }

  #fill(state: number): void {
    write32(this.#walk + STATE, State.idle);
    const regime = this.#regime();
    const walker = this.#walker;
    this.#recall();
    if (state === State.fillTable) {
      walker.cacheTable(this.#address, regime);
      write32(this.#walk + STATE, State.load);
      return;
    }
    if (walker.level !== LAST_LEVEL) write32(this.#line + CpuWord.blocks, 1);
    const { level, lo, hi } = walker;
    const entry = this.tlb.fill(this.#address, level, regime.vmid, lo, hi);
    const page = this.#geometry.blockNumber(this.#address, LAST_LEVEL);
    event(EventKind.tlbFill, entry, this.#line, page | 0, lo, hi, tlbExtra(level, page));
  }

  /** Puts down where the walk is. */
  #remember(state: number): void {
    const { table, level } = this.#walker;
    write32(this.#walk + TABLE_LO, lowHalf(table));
    write32(this.#walk + TABLE_HI, highHalf(table));
    write32(this.#walk + LEVEL, level);
    write32(this.#walk + STATE, state);
  }

  /** Another agent's object may have put it down. */
  #recall(): void {
    const walker = this.#walker;
    walker.table = this.#wide(TABLE_LO) as Phys;
    walker.level = read32(this.#walk + LEVEL) as Level;
    walker.lo = read32(this.#walk + DESCRIPTOR_LO);
    walker.hi = read32(this.#walk + DESCRIPTOR_HI);
  }

  get #address(): Ipa {
    return this.#wide(ADDRESS_LO) as Ipa;
  }

  /** Registers change in the host only; a walk does not survive that. */
  #regime(): Stage2Regime {
    return stage2Regime(readRegisters(this.#line));
  }

  #wide(at: number): number {
    return read32(this.#walk + at + 4) * HIGH_WEIGHT + (read32(this.#walk + at) >>> 0);
  }
}
