/** Which agent is which: vCPUs first, then the host's, of which the first conducts the run, then the RCU daemon. */
import type { Op } from '#port';
import type { Actor } from './actor.ts';
import { HostAgent } from './host-agent.ts';
import { hostAgent, isDaemon, type Layout } from './layout.ts';
import { runAgent, runConductor, type Duration } from './rounds.ts';
import { Announced } from './userfaults.ts';
import { VcpuAgent } from './vcpu-agent.ts';
import type { World } from './world.ts';

/** An agent's part of a run. */
export interface AgentPart {
  readonly agent: number;
  readonly seed: number;
  /** Meant for the conductor. */
  readonly duration: Duration;
}

/** Runs one agent from its first barrier to its last. */
export function* runPart(world: World, { agent, seed, duration }: AgentPart): Op<void> {
  if (isDaemon(world.layout, agent)) {
    yield* runDaemon(world);
    return;
  }
  const actor = actorOf(world, agent, seed);
  if (agent === hostAgent(world.layout)) {
    yield* runConductor(world, actor, duration);
    // No vCPU takes a fault after the last barrier.
    if (world.layout.daemons > 0) yield* world.tablesRcu.retire();
  } else yield* runAgent(world, actor);
}

/** Frees tables that were put off. */
export function* runDaemon({ tablesRcu, vm }: World): Op<void> {
  yield* tablesRcu.reclaimUntilRetired(vm.parts.mmu);
}

/** What an agent is, as a run begins. */
export function actorOf(world: World, agent: number, seed: number): Actor {
  const { vcpus } = world.layout;
  const actor =
    agent < vcpus ? new VcpuAgent(world, agent, seed) : new HostAgent(world, agent - vcpus, seed);
  return new Announced(world, actor);
}

/** What reports call an agent. */
export function nameOf(layout: Pick<Layout, 'vcpus' | 'hosts' | 'daemons'>, agent: number): string {
  const { vcpus, hosts } = layout;
  if (agent < vcpus) return `vCPU ${agent}`;
  if (isDaemon(layout, agent)) return 'RCU daemon';
  return hosts === 1 ? 'host' : `host ${agent - vcpus}`;
}
