/** The shared memory of a run and the main thread's view of it. */
import { attach, drive } from '#port';
import type { ExploreMemory } from '../engine/explore-memory.ts';
import type { EngineMemory } from '../engine/port.ts';
import {
  MEMORY_BYTES_MAX,
  layoutOf,
  mainAgent,
  statisticsOf,
  type Layout,
} from '../workers/layout.ts';
import type { Scenario } from '../workers/scenario.ts';
import { createVm, worldOf, type World } from '../workers/world.ts';
import { UserError } from './user-error.ts';

const WASM_PAGE = 65536;
const MIB = 2 ** 20;

export interface SharedWorld {
  readonly memory: EngineMemory;
  readonly layout: Layout;
  /** The main thread's own view, of the first VM; it acts only while no agent runs. */
  readonly world: World;
  /** The same of all VMs. */
  readonly worlds: readonly [World, ...(readonly World[])];
  readonly explore: ExploreMemory;
}

/** Memory that threads share. */
function sharedMemory(bytes: number): EngineMemory {
  const pages = bytes / WASM_PAGE;
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

/** Memory of one thread: it is gone as soon as nobody uses it. */
export function ownMemory(bytes: number): EngineMemory {
  return { buffer: new ArrayBuffer(bytes) };
}

/**
 * Allocates the memory of a scenario, and creates the VMs in it.
 * @throws UserError if it would take more than 4 GiB.
 */
export function createSharedWorld(
  scenario: Scenario,
  allocate: (bytes: number) => EngineMemory = sharedMemory,
): SharedWorld {
  const layout = layoutOf(scenario);
  if (layout.bytes > MEMORY_BYTES_MAX) {
    const need = Math.ceil(layout.bytes / MIB);
    throw new UserError(
      `${scenario.name}: machine.memory: the run needs ${need} MiB of shared memory with its logs and tables, at most 4096 MiB are possible`,
    );
  }
  const bytes = Math.ceil(layout.bytes / WASM_PAGE) * WASM_PAGE;
  return bindSharedWorld(scenario, allocate(bytes));
}

/** The same in memory that exists, zeroed. */
export function bindSharedWorld(scenario: Scenario, memory: EngineMemory): SharedWorld {
  const shared = joinSharedWorld(scenario, memory);
  for (const world of shared.worlds) {
    if (!drive(createVm(world))) throw new Error('no memory for the stage-2 root');
  }
  return shared;
}

/** This thread's view of VMs that exist; nothing is written. */
export function joinSharedWorld(scenario: Scenario, memory: EngineMemory): SharedWorld {
  const layout = layoutOf(scenario);
  return sharedWorld(scenario, memory, layout, attachMain(memory, layout));
}

/** Ordinary code of this thread on a memory. */
function attachMain(memory: EngineMemory, layout: Layout): ExploreMemory {
  const statistics = statisticsOf(layout, mainAgent(layout));
  return attach({ memory, statistics, stop: layout.words.stop, seed: 0 });
}

/** Views of the VMs in a memory. */
function sharedWorld(
  scenario: Scenario,
  memory: EngineMemory,
  layout: Layout,
  explore: ExploreMemory,
): SharedWorld {
  const agent = mainAgent(layout);
  const world = worldOf(scenario, layout, agent, 0);
  const others = layout.otherVms.map((_, i) => worldOf(scenario, layout, agent, i + 1));
  return { memory, layout, world, worlds: [world, ...others], explore };
}
