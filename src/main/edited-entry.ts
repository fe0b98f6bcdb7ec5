/** What the worker thread of an edited `explore` run does: one seed after another, all agents in this thread. */
import { EventDigest } from '../engine/events.ts';
import { RandomScheduler } from '../explore/random.ts';
import type { Scenario } from '../workers/scenario.ts';
import { threadMemory } from '../workers/thread-memory.ts';
import { EventCheckers, type EventFinding } from './event-checkers.ts';
import { runSeed } from './run-explore.ts';
import { joinSharedWorld, type SharedWorld } from './shared-world.ts';
import { StuckError, UserError } from './user-error.ts';

/** The scenario is the same for all seeds of a thread, and its VM exists in the thread's memory. */
export interface EditedSeedTask {
  readonly scenario: Scenario;
  readonly seed: number;
}

/** How a seed ended, as a value: a class of error is lost on its way to the main thread. */
export type EditedSeedReport =
  | {
      readonly end: 'completed';
      /** Of all seeds so far. */
      readonly eventDigest: string;
      readonly findings: readonly EventFinding[];
    }
  | { readonly end: 'user-error'; readonly message: string }
  | {
      readonly end: 'stuck';
      readonly message: string;
      /** Until then. */
      readonly findings: readonly EventFinding[];
    };

const digest: EventDigest = new EventDigest();
let shared: SharedWorld | null = null;
let checkers: EventCheckers | null = null;

export default function runEditedSeed({ scenario, seed }: EditedSeedTask): EditedSeedReport {
  try {
    shared ??= joined(scenario);
    shared.explore.restore();
    checkers ??= new EventCheckers(shared);
    checkers.reset();
    runSeed(shared, [digest, ...checkers.sinks], new RandomScheduler(seed), seed);
    checkers.finish();
    return { end: 'completed', eventDigest: digest.hex(), findings: checkers.findings };
  } catch (error) {
    if (error instanceof UserError) return { end: 'user-error', message: error.message };
    const threw = `seed ${seed}: the edited code threw: ${String(error)}`;
    const message = error instanceof StuckError ? error.message : threw;
    return { end: 'stuck', message, findings: checkers?.findings ?? [] };
  }
}

/** This thread's view of what the main thread set up; the memory is as every seed begins. */
function joined(scenario: Scenario): SharedWorld {
  const world = joinSharedWorld(scenario, threadMemory());
  world.explore.baseline();
  return world;
}
