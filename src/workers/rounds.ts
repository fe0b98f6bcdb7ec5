/** The course of a run, the same for every agent: set-up phases once, then rounds, then ending phases once, with a barrier after each phase. */
import { Order, add32, count, load32, now, store32, type Op } from '#port';
import type { Actor } from './actor.ts';
import { Barrier } from './barrier.ts';
import type { Phase } from './scenario.ts';
import { STATISTICS } from './statistics.ts';
import type { World } from './world.ts';

/** When the rounds end: after so many, or at the first round that would begin later than so many nanoseconds after the start. */
export type Duration = { readonly rounds: number } | { readonly ns: number };

/** Runs an agent from its first barrier to its last. */
export function* runAgent(world: World, actor: Actor): Op<void> {
  const barrier = barrierOf(world);
  yield* actor.begin();
  yield* barrier.arrive();
  yield* runPhases(world.scenario.setup, actor, barrier);
  while (yield* hasAnotherRound(world, barrier))
    yield* runPhases(world.scenario.rounds, actor, barrier);
  yield* runPhases(world.scenario.ending, actor, barrier);
  yield* actor.end();
}

/** The same for the agent that decides about rounds and measures the run. */
export function* runConductor(world: World, actor: Actor, duration: Duration): Op<void> {
  const barrier = barrierOf(world);
  yield* actor.begin();
  yield* barrier.arrive();
  const since = now();
  yield* runPhases(world.scenario.setup, actor, barrier);
  for (let round = 0; ; round++) {
    const isOver = world.scenario.rounds.length === 0 || isElapsed(duration, round, since);
    yield* store32(world.layout.words.roundDecision, isOver ? 0 : 1, Order.release);
    if (!(yield* hasAnotherRound(world, barrier))) break;
    yield* add32(world.layout.words.rounds, 1, Order.once);
    yield* runPhases(world.scenario.rounds, actor, barrier);
  }
  yield* runPhases(world.scenario.ending, actor, barrier);
  count(STATISTICS.wallNs, now() - since);
  yield* actor.end();
}

/** Before round `round`, from 0 on, of a run that began at `since`. */
function isElapsed(duration: Duration, round: number, since: number): boolean {
  return 'rounds' in duration ? round >= duration.rounds : now() - since >= duration.ns;
}

function* runPhases(phases: readonly Phase[], actor: Actor, barrier: Barrier): Op<void> {
  for (const phase of phases) {
    yield* actor.perform(phase);
    yield* barrier.arrive();
  }
}

/**
 * The decision stands from the barrier on; the conductor changes it only after every agent passed the barriers of a round, and a round
 * without phases has none: it does not take place.
 */
function* hasAnotherRound(world: World, barrier: Barrier): Op<boolean> {
  yield* barrier.arrive();
  return (yield* load32(world.layout.words.roundDecision, Order.acquire)) === 1;
}

function barrierOf({ layout }: World): Barrier {
  return new Barrier({
    arrived: layout.words.barrierArrived,
    generation: layout.words.barrierGeneration,
    parties: layout.vcpus + layout.hosts,
  });
}
