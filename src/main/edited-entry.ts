/** What the worker thread of an edited `explore` run does: one seed after another, all agents in this thread. */
import { EventDigest } from '../engine/events.ts';
import { RandomScheduler } from '../explore/random.ts';
import type { Scenario } from '../workers/scenario.ts';
import { threadMemory } from '../workers/thread-memory.ts';
import { answerTo, type Answer } from './answer.ts';
import { EventCheckers, type EventFinding } from './event-checkers.ts';
import { runSeed } from './run-explore.ts';
import { joinSharedWorld, type SharedWorld } from './shared-world.ts';
import { StuckError, UserError } from './user-error.ts';

/** The scenario is the same for all seeds of a thread, and its VM exists in the thread's memory. */
export interface EditedSeedTask {
  readonly scenario: Scenario;
  readonly seed: number;
}

/** Of a seed that completed. */
export interface EditedSeedReport {
  /** Of all seeds so far. */
  readonly eventDigest: string;
  readonly findings: readonly EventFinding[];
}

const digest: EventDigest = new EventDigest();
let shared: SharedWorld | null = null;
let checkers: EventCheckers | null = null;

export default async function runEditedSeed(
  task: EditedSeedTask,
): Promise<Answer<EditedSeedReport>> {
  return await answerTo(() => reportOf(task));
}

/** @throws StuckError with what was found until then, also if the edited code threw. */
function reportOf({ scenario, seed }: EditedSeedTask): EditedSeedReport {
  try {
    shared ??= joined(scenario);
    shared.explore.restore();
    checkers ??= new EventCheckers(shared);
    checkers.reset();
    runSeed(shared, [digest, ...checkers.sinks], new RandomScheduler(seed), seed);
    checkers.finish();
    return { eventDigest: digest.hex(), findings: checkers.findings };
  } catch (error) {
    if (error instanceof UserError) throw error;
    const threw = `seed ${seed}: the edited code threw: ${String(error)}`;
    const message = error instanceof StuckError ? error.message : threw;
    throw new StuckError(message, { cause: error, findings: checkers?.findings ?? [] });
  }
}

/** This thread's view of what the main thread set up; the memory is as every seed begins. */
function joined(scenario: Scenario): SharedWorld {
  const world = joinSharedWorld(scenario, threadMemory());
  world.explore.baseline();
  return world;
}
