/**
 * One machine with tables of three geometries: two VMs, each with CPUs, slots, locks and zones of frames of its own, and a hypervisor
 * with its stage-1 table. All share one memory, one physical address space and one interconnect.
 */
import { attach, drive, explore, write32, type Op, type Word } from '#port';
import { Execution, type AgentSpec } from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import { Stage2Mmu } from '../../src/kvm/stage2-mmu.ts';
import { Stage2Root } from '../../src/kvm/stage2-root.ts';
import { HostAreas } from '../../src/kvm/user-areas.ts';
import { Vm } from '../../src/kvm/vm.ts';
import { SpinLock } from '../../src/locking/spin-lock.ts';
import type { Phys } from '../../src/machine/address.ts';
import {
  FRAME_META_BYTES,
  FrameZone,
  GUEST_RAM_BASE,
  PhysicalMemory,
  TABLE_RAM_BASE,
  ZONE_STATE_BYTES,
  type ZoneLayout,
} from '../../src/machine/frames.ts';
import { ANSWER_BYTES, Interconnect, type InterconnectLayout } from '../../src/machine/tlbi.ts';
import { HostAgent } from '../../src/workers/host-agent.ts';
import { hostAgent, layoutOf, mainAgent, statisticsOf } from '../../src/workers/layout.ts';
import type { Layout } from '../../src/workers/layout.ts';
import { runAgent, runConductor } from '../../src/workers/rounds.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { VcpuAgent } from '../../src/workers/vcpu-agent.ts';
import { hostMemoryOf, createVm, worldOf, type World } from '../../src/workers/world.ts';
import { El2Ops } from '../pgtable/hyp-helpers.ts';
import { must } from './tiny-machine.ts';

/** Physical bases of the zones of the second VM, and of the hypervisor's table pages. */
const SECOND = { guest: GUEST_RAM_BASE + 2 ** 32, tables: TABLE_RAM_BASE + 2 ** 36 };
const HYP_BASE = TABLE_RAM_BASE + 2 ** 37;
/** Table pages of the hypervisor. */
const HYP_PAGES = 32;
const STEPS_MAX = 1_000_000;

/** All of physical memory: an address of any zone, whoever asks. */
class OneMemory extends PhysicalMemory {
  readonly #zones: readonly FrameZone[];

  constructor(own: PhysicalMemory, zones: readonly FrameZone[]) {
    super(own.guest, own.tables, own.devices);
    this.#zones = zones;
  }

  override wordOf(address: Phys): Word {
    const zone = this.#zones.find((candidate) => candidate.contains(address));
    if (zone === undefined) throw new Error(`no memory at ${address.toString(16)}`);
    return zone.wordOf(address);
  }
}

/** The interconnect from one VM's side, whose CPUs are numbered from `first` on: its CPU 0 is the machine's CPU `first`. */
class VmInterconnect extends Interconnect {
  readonly #first: number;

  constructor(layout: InterconnectLayout, first: number) {
    super(layout, STATISTICS.tlbi);
    this.#first = first;
  }

  override answerOf(cpu: number): Word {
    return super.answerOf((cpu + this.#first) % this.layout.cpus);
  }
}

/** One of the two VMs. */
interface Guest {
  readonly scenario: Scenario;
  readonly layout: Layout;
  /** Number of its first CPU on the machine. */
  readonly firstCpu: number;
}

export interface MixedOptions {
  readonly first: Scenario;
  readonly second: Scenario;
  /** Bytes of the hypervisor's pages. */
  readonly hypPageBytes: number;
}

/** The engine is attached to the machine made last. */
export class MixedMachine {
  readonly #memory: ExploreMemory;
  readonly #guests: readonly [Guest, Guest];
  readonly #interconnect: InterconnectLayout;
  readonly #hypZone: ZoneLayout;
  readonly #hypLock: Word;

  constructor({ first, second, hypPageBytes }: MixedOptions) {
    const below = layoutOf(first);
    const above = secondLayout(layoutOf(second, upTo(below.bytes, hypPageBytes)));
    this.#guests = [
      { scenario: first, layout: below, firstCpu: 0 },
      { scenario: second, layout: above, firstCpu: first.vcpus },
    ];
    const cpus = first.vcpus + second.vcpus;
    const answers = upTo(above.bytes, hypPageBytes);
    this.#interconnect = { ...below.interconnect, answers, cpus };
    this.#hypLock = answers + cpus * ANSWER_BYTES;
    const state = this.#hypLock + SpinLock.bytes(2);
    const meta = state + upTo(ZONE_STATE_BYTES, 8);
    const contents = upTo(meta + HYP_PAGES * FRAME_META_BYTES, hypPageBytes);
    this.#hypZone = {
      base: HYP_BASE as Phys,
      frames: HYP_PAGES,
      frameBytes: hypPageBytes,
      contentBytes: hypPageBytes,
      state,
      meta,
      contents,
    };
    const buffer = new ArrayBuffer(contents + HYP_PAGES * hypPageBytes);
    const statistics = statisticsOf(below, mainAgent(below));
    this.#memory = attach({ memory: { buffer }, statistics, stop: below.words.stop, seed: 0 });
    for (const world of this.worlds(mainAgent(below)))
      must(drive(createVm(world)), 'no stage-2 root');
    // Each VM gives out its own VMIDs, the second one from 2 on.
    write32(above.words.vmidCursor, 1);
    this.#memory.baseline();
  }

  /** Both VMs as an agent of that number sees them. */
  worlds(agent: number): readonly [World, World] {
    const plain = this.#guests.map(({ scenario, layout }) => worldOf(scenario, layout, agent));
    const zones = plain.flatMap(({ memory }) => [memory.guest, memory.tables]);
    zones.push(this.#zoneOfHyp());
    const [first, second] = this.#guests;
    return [
      this.#onMachine(first, plain[0] as World, zones),
      this.#onMachine(second, plain[1] as World, zones),
    ];
  }

  /** EL2's operations and pages, for the one agent that has the hypervisor's table. */
  hypOps(): El2Ops {
    return new El2Ops(this.#zoneOfHyp(), HYP_PAGES);
  }

  /** Word of a physical address of the hypervisor's pages. */
  hypWord(address: Phys): Word {
    return this.#zoneOfHyp().wordOf(address);
  }

  word(at: Word): number {
    return this.#memory.words[at >>> 2] as number;
  }

  /** The agents of both VMs and one for the hypervisor, from the machine's first state to the end of all. */
  run(seed: number, hyp: () => Op<void>): void {
    this.#memory.restore();
    const [, second] = this.#guests;
    const { layout } = second;
    const specs: AgentSpec[] = [
      ...this.#agentsOf(0, seed),
      ...this.#agentsOf(1, seed),
      { name: 'hyp', statistics: statisticsOf(layout, mainAgent(layout)), start: hyp },
    ];
    const scheduler = new RandomScheduler(seed);
    const result = explore(
      new Execution({ agents: specs, scheduler, stepsMax: STEPS_MAX, sinks: [] }),
    );
    if (result.outcome === 'threw') throw result.error;
    must(result.outcome === 'completed', JSON.stringify(result));
  }

  #agentsOf(which: 0 | 1, seed: number): AgentSpec[] {
    const { scenario, layout } = this.#guests[which];
    const vcpus = Array.from({ length: scenario.vcpus }, (_, id): AgentSpec => {
      const own = this.worlds(id)[which];
      return {
        name: `VM ${which}, vCPU ${id}`,
        statistics: statisticsOf(layout, id),
        start: () => runAgent(own, new VcpuAgent(own, id, seed)),
      };
    });
    const own = this.worlds(hostAgent(layout))[which];
    const host = {
      name: `VM ${which}, host`,
      statistics: statisticsOf(layout, hostAgent(layout)),
      start: () => runConductor(own, new HostAgent(own, 0, 1), { rounds: scenario.repeat }),
    };
    return [...vcpus, host];
  }

  /** The world of a VM with the machine's memory and interconnect instead of its own. */
  #onMachine(guest: Guest, world: World, zones: readonly FrameZone[]): World {
    const { firstCpu, layout } = guest;
    const { parts } = world.vm;
    const { config, geometry } = parts;
    const memory = new OneMemory(world.memory, zones);
    const interconnect = new VmInterconnect(this.#interconnect, firstCpu);
    const { tables } = memory;
    const mmu = new Stage2Mmu({
      tables,
      interconnect,
      vmid: layout.words.vmid,
      lastVcpus: layout.lastVcpus,
      cpus: layout.runQueue.cpus,
      walks: STATISTICS.walks,
      metLocked: STATISTICS.metLocked,
      sections: parts.sections,
      hasRangeTlbi: false,
      geometry,
    });
    const word = layout.words.stage2Root;
    const root = new Stage2Root({ word, zone: layout.tableZone, config, ops: mmu });
    const host = hostMemoryOf(world.scenario, layout, memory.guest, {
      failures: world.failures,
      agent: 0,
    });
    const vm = new Vm({
      ...parts,
      memory,
      mmu,
      root,
      host,
      areas: new HostAreas(host),
    });
    host.subscribe(new KvmNotifier(vm));
    return { ...world, memory, interconnect, vm };
  }

  #zoneOfHyp(): FrameZone {
    return new FrameZone(
      this.#hypZone,
      new SpinLock(this.#hypLock, 2, STATISTICS.locks.table_zone),
    );
  }
}

function secondLayout(layout: Layout): Layout {
  return {
    ...layout,
    guestZone: { ...layout.guestZone, base: SECOND.guest as Phys },
    tableZone: { ...layout.tableZone, base: SECOND.tables as Phys },
  };
}

function upTo(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}
