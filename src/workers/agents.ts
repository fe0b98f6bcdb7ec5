/** Which agent is which: vCPUs first, then the host's, of which the first conducts the run. */
import type { Op } from '#port';
import { HostAgent } from './host-agent.ts';
import { hostAgent, type Layout } from './layout.ts';
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
  const { layout } = world;
  const actor =
    agent < layout.vcpus
      ? new VcpuAgent(world, agent, seed)
      : new HostAgent(world, agent - layout.vcpus, seed);
  const announced = new Announced(world, actor);
  if (agent === hostAgent(layout)) yield* runConductor(world, announced, duration);
  else yield* runAgent(world, announced);
}

/** What reports call an agent. */
export function nameOf({ vcpus, hosts }: Layout, agent: number): string {
  if (agent < vcpus) return `vCPU ${agent}`;
  return hosts === 1 ? 'host' : `host ${agent - vcpus}`;
}
