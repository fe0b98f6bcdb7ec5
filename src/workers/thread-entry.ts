/**
 * What a worker thread runs: one agent, from its first barrier to its last. Ordinary code; the core it calls was stripped to plain
 * functions.
 */
import { Stopped, attach, drive } from '#port';
import { runPart, type AgentPart } from './agents.ts';
import { AgentFailure, type FailureKind } from './failure.ts';
import { layoutOf, statisticsOf } from './layout.ts';
import { threadMemory } from './thread-memory.ts';
import type { Scenario } from './scenario.ts';
import { worldOf } from './world.ts';

/** One agent's part of a run. The memory of all runs of a thread came with its start: {@link threadMemory}. */
export interface ThreadTask extends AgentPart {
  readonly scenario: Scenario;
  /** Where the traced engine records events. */
  readonly ring?: SharedArrayBuffer | undefined;
}

/** How it ended; what is thrown besides is a bug. `stopped`: another agent, or the user, ended the run. */
export type ThreadReport =
  | { readonly end: 'completed' | 'stopped' }
  | { readonly end: 'failed'; readonly kind: FailureKind; readonly message: string };

export default function runThread(task: ThreadTask): ThreadReport {
  assertStripped();
  const { scenario, agent, seed, ring } = task;
  const layout = layoutOf(scenario);
  const statistics = statisticsOf(layout, agent);
  const trace = ring && { ring, agent };
  attach({ memory: threadMemory(), statistics, stop: layout.words.stop, seed, trace });
  const world = worldOf(scenario, layout, agent);
  try {
    drive(runPart(world, task));
  } catch (error) {
    if (error instanceof Stopped) return { end: 'stopped' };
    if (error instanceof AgentFailure) {
      return { end: 'failed', kind: error.kind, message: error.message };
    }
    throw error;
  }
  return { end: 'completed' };
}

/** A generator here means that the load hook is missing: every operation would be a silent no-op. */
function assertStripped(): void {
  if (Object.getPrototypeOf(runPart) !== Function.prototype) {
    throw new Error('core code was loaded unstripped into a worker');
  }
}
