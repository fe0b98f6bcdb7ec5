/** Which agent is which: vCPUs first, then the host's, of which the first conducts the run. */
import type { Op } from '#port';
import type { Actor } from './actor.ts';
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
  const actor = actorOf(world, agent, seed);
  if (agent === hostAgent(world.layout)) yield* runConductor(world, actor, duration);
  else yield* runAgent(world, actor);
}

/** What an agent is, as a run begins. */
export function actorOf(world: World, agent: number, seed: number): Actor {
  const { vcpus } = world.layout;
  const actor =
    agent < vcpus ? new VcpuAgent(world, agent, seed) : new HostAgent(world, agent - vcpus, seed);
  return new Announced(world, actor);
}

/** What reports call an agent. */
export function nameOf({ vcpus, hosts }: Layout, agent: number): string {
  if (agent < vcpus) return `vCPU ${agent}`;
  return hosts === 1 ? 'host' : `host ${agent - vcpus}`;
}
