/** Explores one part until it is done or a budget is spent. */
import { Explorer, type Stopped } from '../../explore/explorer.ts';
import type { Subject } from '../../explore/subject.ts';
import { Tally } from '../../explore/tally.ts';
import { strategyOf, type StrategyOptions } from './options.ts';
import type { Part } from './parts.ts';

/** Milliseconds between two looks at the world outside. */
const TURN_MS = 50;
const MIB = 2 ** 20;

export type End = Stopped | 'seconds' | 'memory';

export interface PartTask {
  readonly part: Part;
  /** At most so many executions and steps. */
  readonly schedules: number;
  readonly steps: number;
  /** Milliseconds since the epoch. */
  readonly endMs: number;
  /** Of the heap of the thread that explores, MiB. */
  readonly memory: number;
}

export interface PartReport {
  readonly tally: Omit<Tally, 'add' | 'addFailure' | 'unseen'>;
  readonly bound: string;
  readonly stopped: End;
  /** Whether the part has no further executions. */
  readonly isDone: boolean;
}

/** Milliseconds since the epoch: the same in all threads. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

export async function explorePart(
  subject: Subject,
  options: StrategyOptions,
  task: PartTask,
  signal: AbortSignal | undefined,
): Promise<PartReport> {
  const strategy = strategyOf(options, subject, task.part);
  const schedules = Math.min(task.part.schedules, task.schedules);
  const limits = { schedules, steps: task.steps, stepsOfOne: options.longest };
  const explorer = new Explorer(subject, strategy, limits);
  const stopped = await runOut(explorer, task, signal);
  const tally = new Tally();
  tally.add(explorer);
  const isDone = stopped === 'exhausted' || tally.schedules === task.part.schedules;
  return { tally, bound: strategy.bound, stopped, isDone };
}

/** Makes executions until there is nothing left or to be spent. */
async function runOut(
  explorer: Explorer,
  { endMs, memory }: PartTask,
  signal: AbortSignal | undefined,
): Promise<End> {
  for (;;) {
    // Before anything is done: a part may be over within one turn.
    if (process.memoryUsage().heapUsed > memory * MIB) return 'memory';
    const turnMs = Math.min(nowMs() + TURN_MS, endMs);
    do {
      const stopped = explorer.advance();
      if (stopped !== null) return stopped;
    } while (nowMs() < turnMs);
    if (nowMs() >= endMs) return 'seconds';
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    signal?.throwIfAborted();
  }
}
