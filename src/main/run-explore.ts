/** Runs under `explore`: all agents in this thread, one random schedule per seed. */
import { explore, type Op } from '#port';
import { EventDigest, type EventSink } from '../engine/events.ts';
import { Execution, type AgentSpec, type Scheduler } from '../engine/execution.ts';
import { RandomScheduler } from '../explore/random.ts';
import { nameOf, runPart } from '../workers/agents.ts';
import { AgentFailure } from '../workers/failure.ts';
import { isDaemon, mainAgent, statisticsOf } from '../workers/layout.ts';
import type { Scenario } from '../workers/scenario.ts';
import { worldOf, type World } from '../workers/world.ts';
import { progressOf } from './progress-of.ts';
import type { RunOptions } from './run-options.ts';
import type { SeedRunner } from './seed-runner.ts';
import { EventCheckers, type EventFinding } from './event-checkers.ts';
import { createSharedWorld, type SharedWorld } from './shared-world.ts';
import { lockHands } from './stuck-locks.ts';
import { StuckError, UserError, endedEarly } from './user-error.ts';

/** Steps after which an execution counts as endless. */
const STEPS_MAX = 50_000_000;
/** Seeds between two looks at the world outside. */
const SEEDS_PER_TURN = 16;

export class ExploreRunner implements SeedRunner {
  readonly shared: SharedWorld;
  readonly events = null;
  readonly #options: RunOptions;
  readonly #digest = new EventDigest();
  readonly #checkers: EventCheckers;
  #seeds = 0;

  constructor(scenario: Scenario, options: RunOptions) {
    this.#options = options;
    this.shared = createSharedWorld(scenario);
    this.shared.explore.baseline();
    this.#checkers = new EventCheckers(this.shared);
  }

  get findings(): readonly EventFinding[] {
    return this.#checkers.findings;
  }

  get eventDigest(): string {
    return this.#digest.hex();
  }

  async run(seed: number): Promise<void> {
    if (this.#seeds++ % SEEDS_PER_TURN === 0) await this.#lookOutside(seed);
    this.shared.explore.restore();
    const sinks = [this.#digest, ...this.#checkers.sinks];
    this.#checkers.reset();
    try {
      runSeed(this.shared, sinks, new RandomScheduler(seed), seed);
    } catch (error) {
      throw endedEarly(error, this.findings);
    }
    this.#checkers.finish();
  }

  async close(): Promise<void> {}

  /** Lets signals in and progress out. */
  async #lookOutside(seed: number): Promise<void> {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.({ ...progressOf(this.shared), seed });
  }
}

/** Runs one seed on memory as every seed begins; gives its number of steps. */
export function runSeed(
  shared: SharedWorld,
  sinks: readonly EventSink[],
  scheduler: Scheduler,
  seed: number,
): number {
  const agents = agentsOfRun(shared, seed);
  const result = explore(new Execution({ agents, scheduler, stepsMax: STEPS_MAX, sinks }));
  if (result.outcome === 'completed') return result.steps;
  if (result.outcome === 'threw') {
    const { error } = result;
    if (error instanceof AgentFailure && error.kind === 'noMemory')
      throw new UserError(error.message);
    if (!(error instanceof AgentFailure)) throw error;
  }
  const at = `seed ${seed}, step ${result.steps}: `;
  if (result.outcome !== 'deadlock') throw new StuckError(at + result.detail);
  throw new StuckError(`${at}deadlock: ${result.detail}${lockHands(shared)}`);
}

/** Steps of `seeds` executions from seed 1 on, nothing verified: for benchmarks. */
export function exploreSteps(
  shared: SharedWorld,
  seeds: number,
  schedulerOf: (seed: number) => Scheduler,
): number {
  let steps = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    shared.explore.restore();
    steps += runSeed(shared, [new EventDigest()], schedulerOf(seed), seed);
  }
  return steps;
}

/** The agents of a run. */
export function agentsOfRun(shared: SharedWorld, seed: number): AgentSpec[] {
  const duration = { rounds: shared.world.scenario.repeat };
  return agentsOf(shared, (own, agent) => runPart(own, { agent, seed, duration }));
}

/** All agents, built anew: each with its own view of the world, and its part. */
export function agentsOf(
  { layout, world }: SharedWorld,
  partOf: (own: World, agent: number) => Op<void>,
): AgentSpec[] {
  return Array.from({ length: mainAgent(layout) }, (_, agent): AgentSpec => {
    const own = worldOf(world.scenario, layout, agent);
    return {
      name: nameOf(layout, agent),
      statistics: statisticsOf(layout, agent),
      ...(isDaemon(layout, agent) ? { daemon: 'waiting' } : {}),
      start: () => partOf(own, agent),
    };
  });
}
