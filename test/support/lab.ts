/** A small machine with one VM for tests: agents' own views of it, executions under a given scheduler, and their events. */
import { drive, explore, type Op, type Word } from '#port';
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import { Execution, type Scheduler } from '../../src/engine/execution.ts';
import type { ScriptLine } from '../../src/explore/scripted.ts';
import { handleGuestAbort } from '../../src/kvm/guest-abort.ts';
import type { DirtyRing } from '../../src/kvm/dirty-ring.ts';
import type { Memslot } from '../../src/kvm/memslots.ts';
import { Vcpu, type AbortResult } from '../../src/kvm/vcpu.ts';
import type { Ipa, Level, Phys } from '../../src/machine/address.ts';
import { GEOMETRY_4K } from '../../src/machine/geometry.ts';
import { FAULTED, type AccessKind, type Cpu } from '../../src/machine/cpu.ts';
import { loadDescriptor, storeDescriptor, type Descriptor } from '../../src/machine/descriptor.ts';
import { Order } from '../../src/engine/port.ts';
import { NO_FRAME } from '../../src/machine/frames.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { createSharedWorld, type SharedWorld } from '../../src/main/shared-world.ts';
import { hostAgent, mainAgent, statisticsOf } from '../../src/workers/layout.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { cpuOf, memcacheFor, worldOf, type World } from '../../src/workers/world.ts';

export const PAGE = 4096;
export const MIB: number = 2 ** 20;
/** Where the slot of a lab begins. */
export const RAM = 0x4000_0000;

/** An event, copied out of the engine's one record. */
export interface Seen {
  readonly agent: number;
  readonly kind: number;
  readonly at: Word;
  readonly oldLo: number;
  readonly newLo: number;
  readonly newHi: number;
  readonly extra: number;
}

/** One entry on the way from the root to a leaf. */
export interface PathEntry {
  readonly table: Phys;
  readonly at: Word;
  readonly level: Level;
  readonly value: Descriptor;
}

/** The accesses of one vCPU, without the agent loop of src/workers. */
export class Guest {
  readonly world: World;
  readonly cpu: Cpu;
  readonly vcpu: Vcpu;
  /** How each fault ended. */
  readonly results: AbortResult[] = [];

  constructor(lab: Lab, id: number, ring: DirtyRing | null = null) {
    this.world = lab.view(id);
    this.cpu = cpuOf(this.world, id);
    this.world.vm.parts.mmu.runOn(this.cpu);
    this.vcpu = new Vcpu({
      memcache: memcacheFor(this.world, id),
      retried: STATISTICS.retried,
      ring,
    });
  }

  /** One access from the host into the guest and back; a fault is handled once and nothing repeated. Whether it faulted. */
  *try(ipa: number, kind: AccessKind): Op<boolean> {
    this.cpu.load(yield* this.world.vm.registers());
    yield* this.cpu.enterGuest();
    const at = yield* this.cpu.access(ipa as Ipa, kind);
    yield* this.cpu.leaveGuest();
    if (at !== FAULTED) return false;
    this.vcpu.fault = this.cpu.fault;
    this.results.push(yield* handleGuestAbort(this.world.vm, this.vcpu));
    return true;
  }

  /** The same until nothing faults. The number of faults. */
  *touch(ipa: number, kind: AccessKind): Op<number> {
    for (let faults = 0; faults <= 8; faults++) {
      if (!(yield* this.try(ipa, kind))) return faults;
    }
    throw new Error(`${kind} of ${ipa.toString(16)} faults again and again`);
  }
}

export class Lab {
  readonly shared: SharedWorld;
  readonly world: World;

  constructor(overrides: Partial<Scenario> = {}) {
    this.shared = createSharedWorld(scenarioOf(overrides));
    this.world = this.shared.world;
    // What making the VM took is not counted.
    const { layout } = this.world;
    const at = statisticsOf(layout, mainAgent(layout));
    new Uint8Array(this.shared.memory.buffer, at, STATISTICS.bytes).fill(0);
  }

  /** The scenario's first slot as it is now. */
  get slot(): Memslot {
    return this.world.vm.parts.memslots.slots.find(({ id }) => id === 0) as Memslot;
  }

  /** An agent's own view: of the host agent unless said otherwise. */
  view(agent: number = hostAgent(this.world.layout)): World {
    return worldOf(this.world.scenario, this.world.layout, agent);
  }

  /** Runs agents from the present state to their ends; agent i counts into statistics block i. Throws unless all end. */
  run(
    scheduler: Scheduler,
    agents: readonly (() => Op<unknown>)[],
    sinks: readonly EventSink[] = [],
  ): readonly Seen[] {
    const seen: Seen[] = [];
    const sink: EventSink = { onEvent: (record) => seen.push(copyOf(record)) };
    this.runWith(scheduler, agents, [sink, ...sinks]);
    return seen;
  }

  /** The same with sinks of the caller's. */
  runWith(
    scheduler: Scheduler,
    agents: readonly (() => Op<unknown>)[],
    sinks: readonly EventSink[] = [],
  ): void {
    const specs = agents.map((start, id) => ({
      name: `agent ${id}`,
      statistics: statisticsOf(this.world.layout, id),
      *start(): Op<void> {
        yield* start();
      },
    }));
    const execution = new Execution({ agents: specs, scheduler, stepsMax: 100_000, sinks });
    const result = explore(execution);
    if (result.outcome === 'completed') return;
    if (result.outcome === 'threw') throw result.error;
    throw new Error(`${result.outcome}: ${result.detail}`);
  }

  /** A statistics counter of an agent. */
  counter(agent: number, offset: number): number {
    const floats = new Float64Array(this.shared.memory.buffer);
    return floats[(statisticsOf(this.world.layout, agent) + offset) / 8] as number;
  }

  /** The entries from the root towards `ipa`, down to a leaf or an invalid entry. */
  path(ipa: number): readonly PathEntry[] {
    return pathOf(this.world, ipa);
  }

  /** The last entry of the path, in 16 hexadecimal digits, and its level. */
  leaf(ipa: number): { readonly level: Level; readonly hex: string } {
    const { level, value } = this.path(ipa).at(-1) as PathEntry;
    return { level, hex: value.toBigInt().toString(16).padStart(16, '0') };
  }

  /** References of the tables on the way to `ipa`, the root first. */
  references(ipa: number): readonly number[] {
    return this.path(ipa).map(({ table }) => drive(this.world.memory.tables.count(table)));
  }

  /** Stores into table pages. */
  entryStores(events: readonly Seen[]): readonly Seen[] {
    const { contents, frames, contentBytes } = this.world.layout.tableZone;
    const end = contents + frames * contentBytes;
    return only(events, EventKind.store64).filter(({ at }) => at >= contents && at < end);
  }

  /** Takes all frames of a zone but `leave`. */
  drain(zone: 'guest' | 'tables', leave: number): void {
    const frames = this.world.memory[zone];
    const taken: Phys[] = [];
    for (let frame = drive(frames.zalloc()); frame !== NO_FRAME; frame = drive(frames.zalloc()))
      taken.push(frame);
    for (const frame of taken.slice(0, leave)) drive(frames.put(frame));
  }

  /** Frames of a zone that are handed out. */
  used(zone: 'guest' | 'tables'): number {
    const { used, free } = this.world.memory[zone].accounts();
    return used - free;
  }
}

/** A scenario of two vCPUs and one slot of 4 MiB at {@link RAM}; the guest programs are the test's own. */
export function scenarioOf(overrides: Partial<Scenario> = {}): Scenario {
  return {
    name: 'lab',
    description: 'a test',
    vcpus: 2,
    kvm: '5.10',
    twin: false,
    machine: PLAIN_4K,
    ipaBits: 40,
    frames: 16,
    contents: 'line',
    slots: [{ base: RAM, bytes: 4 * MIB, logging: false }],
    setup: [],
    rounds: [],
    repeat: 1,
    failures: [],
    ending: [],
    dirtyLog: 'harvest',
    ...overrides,
  };
}

/** See {@link Lab.path}: the test's own descent, with nothing but the specification's index rule. */
export function pathOf(world: World, ipa: number): PathEntry[] {
  const pgt = drive(world.vm.pgt());
  if (pgt === null) throw new Error('no stage-2 table');
  const entries: PathEntry[] = [];
  let base = pgt.pgd as number;
  for (let level = pgt.startLevel; ; level = (level + 1) as Level) {
    const number = Math.floor(ipa / 2 ** (12 + 9 * (3 - level)));
    const address = base + (level === pgt.startLevel ? number : number % 512) * 8;
    const at = world.memory.wordOf(address as Phys);
    const value = drive(loadDescriptor(at));
    entries.push({ table: (address - (address % PAGE)) as Phys, at, level, value });
    if (!value.isTable(level)) return entries;
    base = value.address(GEOMETRY_4K);
  }
}

/** Overwrites an entry, behind everybody's back. */
export function plant(at: Word, value: Descriptor): void {
  drive(storeDescriptor(at, value, Order.once));
}

/** Script: `agent` runs until it is about to take `mmu_lock`. */
export function toLock(lab: Lab, agent: number): ScriptLine {
  const at = lab.world.layout.locks.mmu_lock;
  return { agent, until: (pending) => pending.kind === EventKind.add32 && pending.at === at };
}

/** What an agent did between the begin and the end of its faults. */
export function inFaults(events: readonly Seen[], agent: number): readonly Seen[] {
  let isInside = false;
  return events.filter((event) => {
    if (event.agent !== agent) return false;
    if (event.kind === EventKind.faultBegin) isInside = true;
    if (event.kind === EventKind.faultEnd) isInside = false;
    return isInside;
  });
}

/** Events of one kind. */
export function only(events: readonly Seen[], kind: EventKind): readonly Seen[] {
  return events.filter((event) => event.kind === kind);
}

function copyOf(record: Int32Array): Seen {
  const at = (field: number): number => record[field] as number;
  return {
    agent: at(RECORD.agentAndKind) >> 16,
    kind: at(RECORD.agentAndKind) & 0xffff,
    at: at(RECORD.location),
    oldLo: at(RECORD.oldLo),
    newLo: at(RECORD.newLo),
    newHi: at(RECORD.newHi),
    extra: at(RECORD.extra),
  };
}
