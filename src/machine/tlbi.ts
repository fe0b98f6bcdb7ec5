/**
 * Broadcast TLB invalidation (Arm ARM D8.13; specification section 7). TLBI posts a command; DSB waits until every CPU in guest
 * mode has performed it. A CPU in the host answers nobody: it performs what it missed before its next guest access.
 *
 * Commands stand in a ring in posting order. A CPU that fell a whole ring behind drops everything it caches instead, which
 * a TLB always may.
 */
import {
  Barrier,
  Order,
  add32,
  barrier,
  count,
  event,
  high,
  load32,
  load64,
  read32,
  signal32,
  store64,
  wait,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';
import {
  HIGH_WEIGHT,
  highHalf,
  type Asid,
  type Ipa,
  type Level,
  type Va,
  type Vmid,
} from './address.ts';

/** Kinds of invalidation. */
export const TlbiKind = {
  /** Stage-2 entries of one IPA, with a level hint: IPAS2E1IS. */
  ipa: 1,
  /** Everything of a VMID: VMALLS12E1IS. */
  vmid: 2,
  /** Everything: ALLE1IS. */
  all: 3,
  /** Stage-2 entries of a range of IPAs, without a hint: RIPAS2E1IS. */
  range: 8,
  /** Stage-1 and combined entries of a VMID: VMALLE1IS. */
  stage1: 4,
  /** Those of one VA and ASID, and global ones of the VA: VAE1IS. */
  va: 5,
  /** Those of an ASID that are not global: ASIDE1IS. */
  asid: 6,
} as const;
export type TlbiKind = (typeof TlbiKind)[keyof typeof TlbiKind];

/** No level hint: any entry of the IPA, walk-cache entries included, has to go. */
export const NO_HINT = 0;

/** A decoded command. */
export type TlbiCommand = Stage2Command | Stage1Command;

export interface Stage2Command {
  readonly kind:
    | typeof TlbiKind.ipa
    | typeof TlbiKind.vmid
    | typeof TlbiKind.all
    | typeof TlbiKind.range;
  readonly vmid: Vmid;
  readonly ipa: Ipa;
  /** Level of the leaf that was removed or changed, or {@link NO_HINT}; of kind `range` SCALE of its operand. */
  readonly level: Level | typeof NO_HINT;
  /** Of kind `range`: NUM of its operand, 0 to 31. */
  readonly num?: number;
}

/** A command that reaches no stage-2 entry. */
export interface Stage1Command {
  readonly kind: typeof TlbiKind.stage1 | typeof TlbiKind.va | typeof TlbiKind.asid;
  readonly vmid: Vmid;
  /** Of kind `va`, else 0. */
  readonly va: Va;
  /** Of kind `va` or `asid`, else 0. */
  readonly asid: Asid;
}

/** Commands the ring holds. */
export const RING_COMMANDS = 256;
const COMMAND_BYTES = 8;
export const RING_BYTES: number = RING_COMMANDS * COMMAND_BYTES;
/** Bytes of one CPU's answer: a waitable word on a line of its own. */
export const ANSWER_BYTES = 128;
/** The answer of a CPU in the host, or asleep. In guest mode: the number of commands performed, times two, plus one. */
export const IN_HOST = 0;

const PAGE_4K = 4096;
const PAGE_INVERSE = 1 / PAGE_4K;
/**
 * Fields of a command's high half; the low half is the page number's. Below the VMID an IPA leaves room for the level, a VA, which has
 * four bits less, for the ASID.
 */
const IPA_PAGE_HI = 0xff;
const LEVEL_SHIFT = 8;
/** NUM of a range: two bits above the level, the others below its kind. */
const NUM_LOW_SHIFT = 10;
const NUM_LOW_BITS = 2;
const NUM_LOW_MASK = 3;
const VA_PAGE_HI = 0xf;
const ASID_SHIFT = 4;
const ASID_MASK = 0xff;
const VMID_SHIFT = 12;
const KIND_SHIFT = 28;

/** Where the interconnect lives: zeroed words. */
export interface InterconnectLayout {
  /** Next place in the ring. */
  readonly claimed: Word;
  /** Waitable: commands that can be read. */
  readonly posted: Word;
  readonly ring: Word;
  /** `cpus` answers, {@link ANSWER_BYTES} each. */
  readonly answers: Word;
  readonly cpus: number;
}

/** Offsets of the counters of issued invalidations in the agent's statistics block. */
export interface TlbiStatistics {
  readonly byIpa: number;
  readonly local: number;
  readonly range: number;
  readonly vmid: number;
  readonly all: number;
  readonly stage1: number;
}

/** The issuing side, one object per agent. */
export class Interconnect {
  readonly layout: InterconnectLayout;
  readonly statistics: TlbiStatistics;
  /** Sequence after the last command this agent posted: what its DSB waits for. */
  #issued = 0;
  /** Commands that this agent posted. */
  #own = 0;

  constructor(layout: InterconnectLayout, statistics: TlbiStatistics) {
    this.layout = layout;
    this.statistics = statistics;
  }

  /** Commands of other agents so far: a look without order. */
  get postedByOthers(): number {
    return read32(this.layout.posted) - this.#own;
  }

  answerOf(cpu: number): Word {
    return this.layout.answers + cpu * ANSWER_BYTES;
  }

  /** Posts a broadcast invalidation; completed only by {@link dsbIsh}. */
  *tlbi(command: TlbiCommand): Op<void> {
    count(this.#counterOf(command.kind), 1);
    const { claimed, posted } = this.layout;
    this.#own++;
    const sequence = yield* add32(claimed, 1, Order.acquire);
    yield* this.#write(sequence, command);
    // In order: the command before this one is published by whoever claimed its place.
    let seen = yield* load32(posted, Order.acquire);
    while (seen !== sequence) {
      yield* wait(posted, seen);
      seen = yield* load32(posted, Order.acquire);
    }
    this.#issued = (sequence + 1) | 0;
    this.#tell(command);
    yield* signal32(posted, this.#issued, Order.release);
  }

  #tell(command: TlbiCommand): void {
    const { kind, vmid } = command;
    const page = pageOf(command);
    const num = 'num' in command ? (command.num ?? 0) : 0;
    event(EventKind.tlbi, kind, fieldOf(command), page | 0, vmid, highHalf(page), num);
  }

  /** DSB ISH: returns once no CPU can still use, or fill, what this agent's TLBIs removed. */
  *dsbIsh(): Op<void> {
    yield* barrier(Barrier.dsbIsh);
    for (let cpu = 0; cpu < this.layout.cpus; cpu++) {
      const answer = this.answerOf(cpu);
      let seen = yield* load32(answer, Order.acquire);
      while (seen !== IN_HOST && !hasPerformed(seen, this.#issued)) {
        yield* wait(answer, seen);
        seen = yield* load32(answer, Order.acquire);
      }
    }
    event(EventKind.dsbComplete, 0, this.#issued, 0);
  }

  /** Reads the command at `sequence`; valid only if the caller then finds its place not `claimed` again. */
  *read(sequence: number): Op<TlbiCommand> {
    const pageLo = yield* load64(this.#slot(sequence), Order.once);
    const head = high();
    const field = head >>> KIND_SHIFT;
    const kind = Math.min(field, TlbiKind.range) as TlbiKind;
    const vmid = ((head >>> VMID_SHIFT) & 0xffff) as Vmid;
    if (kind === TlbiKind.stage1 || kind === TlbiKind.va || kind === TlbiKind.asid)
      return {
        kind,
        vmid,
        va: addressOf(head & VA_PAGE_HI, pageLo) as Va,
        asid: ((head >>> ASID_SHIFT) & ASID_MASK) as Asid,
      };
    return {
      kind,
      level: ((head >>> LEVEL_SHIFT) & 3) as Level,
      vmid,
      ipa: addressOf(head & IPA_PAGE_HI, pageLo) as Ipa,
      ...(kind === TlbiKind.range ? { num: numOf(head) } : {}),
    };
  }

  *#write(sequence: number, command: TlbiCommand): Op<void> {
    const page = pageOf(command);
    const field = fieldOf(command) << ('va' in command ? ASID_SHIFT : LEVEL_SHIFT);
    const num = 'num' in command ? (command.num ?? 0) : 0;
    const kind = (command.kind + (num >>> NUM_LOW_BITS)) << KIND_SHIFT;
    const head =
      kind | ((num & NUM_LOW_MASK) << NUM_LOW_SHIFT) | (command.vmid << VMID_SHIFT) | field;
    yield* store64(this.#slot(sequence), page | 0, head | highHalf(page), Order.once);
  }

  #slot(sequence: number): Word {
    return this.layout.ring + (sequence & (RING_COMMANDS - 1)) * COMMAND_BYTES;
  }

  #counterOf(kind: TlbiKind): number {
    if (kind === TlbiKind.ipa) return this.statistics.byIpa;
    if (kind === TlbiKind.range) return this.statistics.range;
    if (kind === TlbiKind.vmid) return this.statistics.vmid;
    return kind === TlbiKind.all ? this.statistics.all : this.statistics.stage1;
  }
}

/** What an address's page number leaves room for: the ASID, or the level. */
function fieldOf(command: TlbiCommand): number {
  return 'va' in command ? command.asid : command.level;
}

/** In pages of 4 KiB. */
function pageOf(command: TlbiCommand): number {
  return Math.floor(('va' in command ? command.va : command.ipa) * PAGE_INVERSE);
}

function addressOf(pageHi: number, pageLo: number): number {
  return (pageHi * HIGH_WEIGHT + (pageLo >>> 0)) * PAGE_4K;
}

function numOf(head: number): number {
  const above = (head >>> KIND_SHIFT) - TlbiKind.range;
  return (above << NUM_LOW_BITS) | ((head >>> NUM_LOW_SHIFT) & NUM_LOW_MASK);
}

/** The answer of a CPU in guest mode that has performed the first `sequence` commands (modulo 2^31). */
export function answerAfter(sequence: number): number {
  return (sequence << 1) | 1;
}

/** Whether a guest-mode answer covers the first `sequence` commands; sequences are compared modulo 2^31. */
export function hasPerformed(answer: number, sequence: number): boolean {
  return ((answer >> 1) - sequence) << 1 >= 0;
}
