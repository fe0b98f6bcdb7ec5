/** One phase of a run alone, without the barriers around it: what an exhaustive exploration can afford. */
import type { Op } from '#port';
import { actorOf, runDaemon } from './agents.ts';
import { isDaemon } from './layout.ts';
import type { Phase } from './scenario.ts';
import type { World } from './world.ts';

/** An agent's part of a phase, from its own beginning. */
export function* runPhase(world: World, phase: Phase, agent: number, seed: number): Op<void> {
  if (isDaemon(world.layout, agent)) {
    yield* runDaemon(world);
    return;
  }
  const actor = actorOf(world, agent, seed);
  yield* actor.begin();
  yield* actor.perform(phase);
}
