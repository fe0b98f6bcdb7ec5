/** A machine of a few frames for tests: shared words, agents with objects of their own, runs that are recorded. */
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import { Execution, type ExecutionResult, type Scheduler } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { attach, drive, explore, type Op, type Word } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import type { Level, Phys } from '../../src/machine/address.ts';
import { CPU_CACHE_BYTES, Cpu, type CpuOptions } from '../../src/machine/cpu.ts';
import type { Descriptor } from '../../src/machine/descriptor.ts';
import {
  FRAME_BYTES,
  FRAME_META_BYTES,
  FrameZone,
  GUEST_RAM_BASE,
  PhysicalMemory,
  TABLE_RAM_BASE,
  ZONE_STATE_BYTES,
  type ZoneLayout,
} from '../../src/machine/frames.ts';
import { ARMV8_0, type MachineFeatures } from '../../src/machine/features.ts';
import { GEOMETRY_4K, Geometry } from '../../src/machine/geometry.ts';
import {
  ANSWER_BYTES,
  Interconnect,
  RING_BYTES,
  type InterconnectLayout,
} from '../../src/machine/tlbi.ts';
import { stage2Config, type Stage2Config } from '../../src/pgtable/stage2-init.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';

/** An event, unpacked. */
export interface Seen {
  readonly agent: number;
  readonly kind: EventKind;
  readonly at: Word;
  readonly lo: number;
  readonly hi: number;
  readonly extra: number;
}

/** Keeps every event of a run. */
class Recorder implements EventSink {
  readonly seen: Seen[] = [];

  onEvent(record: Int32Array): void {
    const word = record[RECORD.agentAndKind] as number;
    this.seen.push({
      agent: word >> 16,
      kind: (word & 0xffff) as EventKind,
      at: record[RECORD.location] as number,
      lo: record[RECORD.newLo] as number,
      hi: record[RECORD.newHi] as number,
      extra: record[RECORD.extra] as number,
    });
  }
}

export interface Recorded {
  readonly result: ExecutionResult;
  readonly seen: readonly Seen[];
}

/** What one agent holds. */
export interface TinyAgent {
  readonly memory: PhysicalMemory;
  readonly interconnect: Interconnect;
  /** What CPU `id` is made of. */
  cpuOptions(id: number): CpuOptions;
  /** A fresh physical CPU over the words of CPU `id`. */
  cpu(id: number): Cpu;
}

export interface TinyOptions {
  readonly cpus?: number;
  readonly features?: Partial<MachineFeatures>;
  readonly guestFrames?: number;
  readonly tableFrames?: number;
  /** Bytes of a table page, and where table pages begin. */
  readonly tableBytes?: number;
  readonly tableBase?: number;
  /** Bytes kept of a guest frame. */
  readonly contentBytes?: number;
}

const AGENTS = 4;

/** The engine is attached to the machine made last: an earlier one is dead. */
export class TinyMachine {
  readonly memory: ExploreMemory;
  readonly interconnect: InterconnectLayout;
  readonly guestZone: ZoneLayout;
  readonly tableZone: ZoneLayout;
  /** Eight words of the test's own, a line apart. */
  readonly markers: readonly Word[];
  /** Objects for ordinary code. */
  readonly main: TinyAgent;
  readonly #locks: readonly [Word, Word];
  readonly #caches: Word;
  readonly #statistics: Word;
  readonly #features: MachineFeatures;
  #next = FRAME_BYTES;

  constructor(options: TinyOptions = {}) {
    const { cpus = 1, guestFrames = 8, tableFrames = 16, contentBytes = 64 } = options;
    const { tableBytes = FRAME_BYTES, tableBase = TABLE_RAM_BASE } = options;
    this.#features = { ...ARMV8_0, ...options.features };
    this.#locks = [this.#take(SpinLock.bytes(AGENTS)), this.#take(SpinLock.bytes(AGENTS))];
    this.#statistics = this.#take(AGENTS * STATISTICS.bytes);
    this.#caches = this.#take(cpus * CPU_CACHE_BYTES);
    this.markers = [0, 1, 2, 3, 4, 5, 6, 7].map(() => this.#take(8));
    this.interconnect = {
      claimed: this.#take(8),
      posted: this.#take(8),
      ring: this.#take(RING_BYTES),
      answers: this.#take(cpus * ANSWER_BYTES),
      cpus,
    };
    this.guestZone = this.#zone(GUEST_RAM_BASE, guestFrames, FRAME_BYTES, contentBytes);
    this.tableZone = this.#zone(tableBase as Phys, tableFrames, tableBytes, tableBytes);
    const buffer = new ArrayBuffer(this.#next);
    this.memory = attach({ memory: { buffer }, seed: 0, statistics: this.#statistics, stop: 0 });
    this.main = this.agent();
  }

  /** New objects over the shared words, as another agent would have them. */
  agent(): TinyAgent {
    const memory = new PhysicalMemory(
      zoneOf(this.guestZone, this.#locks[0], 'guest_zone'),
      zoneOf(this.tableZone, this.#locks[1], 'table_zone'),
      zoneOf({ ...this.guestZone, frames: 0 }, this.#locks[0], 'guest_zone'),
    );
    const interconnect = new Interconnect(this.interconnect, STATISTICS.tlbi);
    const cpuOptions = (id: number): CpuOptions => ({
      id,
      memory,
      geometry: GEOMETRY_4K,
      features: this.#features,
      interconnect,
      caches: this.#caches + id * CPU_CACHE_BYTES,
    });
    return { memory, interconnect, cpuOptions, cpu: (id) => new Cpu(cpuOptions(id)) };
  }

  /** Runs agents to the end of one execution. */
  run(agents: readonly (() => Op<void>)[], scheduler: Scheduler): Recorded {
    const recorder = new Recorder();
    const execution = new Execution({
      agents: agents.map((start, id) => ({
        name: `agent ${id}`,
        statistics: this.#statistics + id * STATISTICS.bytes,
        start,
      })),
      scheduler,
      stepsMax: 100_000,
      sinks: [recorder],
    });
    return { result: explore(execution), seen: recorder.seen };
  }

  /** Runs one agent alone to completion; gives its events. */
  alone(start: () => Op<void>): readonly Seen[] {
    const { result, seen } = this.run([start], new Scripted([]));
    must(result.outcome === 'completed', JSON.stringify(result));
    return seen;
  }

  /** A counter of agent `id` at `offset` of its statistics. */
  counter(offset: number, id = 0): number {
    return this.memory.floats[(this.#statistics + id * STATISTICS.bytes + offset) / 8] as number;
  }

  word(at: Word): number {
    return this.memory.words[at >>> 2] as number;
  }

  /** The 64-bit entry `index` of the table page at `table`. */
  entry(table: number, index: number): bigint {
    const at = this.#wordOfEntry(table, index);
    return (
      (BigInt((this.memory.words[at + 1] as number) >>> 0) << 32n) |
      BigInt((this.memory.words[at] as number) >>> 0)
    );
  }

  setEntry(table: number, index: number, value: bigint): void {
    const at = this.#wordOfEntry(table, index);
    this.memory.words[at] = Number(BigInt.asIntN(32, value));
    this.memory.words[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
  }

  /**
   * Stores `leaf` for `ipa` at `level`, with the tables on the way: by hand, not by the code under test. Gives the table page that
   * holds it and the index there; the index in a root of several pages runs over all of them.
   */
  plant(
    root: number,
    startLevel: Level,
    address: number,
    level: Level,
    leaf: Descriptor | bigint,
  ): { readonly table: number; readonly index: number } {
    let table = root;
    for (let at = startLevel; ; at = (at + 1) as Level) {
      const number = BigInt(address) >> BigInt(12 + 9 * (3 - at));
      const index = Number(at === startLevel ? number : number & 511n);
      if (at === level) {
        this.setEntry(table, index, typeof leaf === 'bigint' ? leaf : leaf.toBigInt());
        return { table, index };
      }
      const entry = this.entry(table, index);
      if ((entry & 3n) === 3n) table = Number(entry & 0xffff_ffff_f000n);
      else {
        const child = drive(this.main.memory.tables.zalloc());
        this.setEntry(table, index, BigInt(child) | 3n);
        table = child;
      }
    }
  }

  #wordOfEntry(table: number, index: number): number {
    return (this.tableZone.contents + (table - this.tableZone.base) + index * 8) >>> 2;
  }

  #take(bytes: number): Word {
    const at = this.#next;
    this.#next += Math.ceil(bytes / 128) * 128;
    return at;
  }

  #zone(base: Phys, frames: number, frameBytes: number, contentBytes: number): ZoneLayout {
    return {
      base,
      frames,
      frameBytes,
      contentBytes,
      state: this.#take(ZONE_STATE_BYTES),
      meta: this.#take(frames * FRAME_META_BYTES),
      contents: this.#take(frames * contentBytes),
    };
  }
}

function zoneOf(layout: ZoneLayout, lock: Word, name: 'guest_zone' | 'table_zone'): FrameZone {
  return new FrameZone(layout, new SpinLock(lock, AGENTS, STATISTICS.locks[name]));
}

/** A stage-2 table of a plain machine, whose physical addresses have 48 bits unless the IPA has more. */
export function configOf(ipaBits: number, geometry: Geometry = GEOMETRY_4K): Stage2Config {
  return stage2Config(geometry, ipaBits, { ...ARMV8_0, paBits: ipaBits > 48 ? 52 : 48 });
}

/** Tables of 2^`pageShift` bytes for addresses of `bits` bits. */
export function geometryOf(pageShift: number, bits: number): Geometry {
  return new Geometry(pageShift, bits > 48 && pageShift !== 16);
}

/** For helpers, where a test framework's `expect` has no place. */
export function must(is: boolean, otherwise: string): void {
  if (!is) throw new Error(otherwise);
}

/** How many table entries an agent loaded: the 64-bit loads of table pages. */
export function descriptorLoads(machine: TinyMachine, seen: readonly Seen[], agent = 0): number {
  const { contents, frames, contentBytes } = machine.tableZone;
  return seen.filter(
    (e) =>
      e.agent === agent &&
      e.kind === EventKind.load64 &&
      e.at >= contents &&
      e.at < contents + frames * contentBytes,
  ).length;
}

/** How many events of a kind there are, of one agent or of all. */
export function countOf(seen: readonly Seen[], kind: EventKind, agent?: number): number {
  return seen.filter((e) => e.kind === kind && (agent === undefined || e.agent === agent)).length;
}
