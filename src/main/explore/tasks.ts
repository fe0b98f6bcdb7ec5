/** What `faultline explore`, `merge` and `replay` have to do, as plain data, and where it is done: in this thread, or in one with edits. */
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import type { ExploreResult, ReplayResult } from '../result.ts';
import { resultOf, type Answer } from '../answer.ts';
import { WorkerDied } from '../user-error.ts';
import { workerLaunch } from '../worker-entry.ts';
import { exploreWorkload } from './explore.ts';
import { mergeCheckpoints } from './merge.ts';
import type { ExploreOptions } from './options.ts';
import { replaySchedule, type ReplayOptions } from './replay.ts';
import type { Overrides } from './target.ts';

export interface ExploreTask {
  readonly command: 'explore';
  readonly workload: string;
  readonly options: ExploreOptions;
}

export interface MergeTask {
  readonly command: 'merge';
  readonly workload: string;
  readonly files: readonly string[];
  readonly options: Pick<Overrides, 'edits'>;
}

export interface ReplayTask {
  readonly command: 'replay';
  readonly schedule: string;
  /** Null: one of those that come with faultline. */
  readonly workload: string | null;
  readonly options: ReplayOptions;
}

export type Task = ExploreTask | MergeTask | ReplayTask;
export type ResultOf<T extends Task> = T extends ReplayTask ? ReplayResult : ExploreResult;

/** @throws UserError, StuckError; the signal's reason when it was aborted. */
export async function perform<T extends Task>(task: T, signal?: AbortSignal): Promise<ResultOf<T>> {
  const { edits = [] } = task.options;
  const result = edits.length === 0 ? here(task, signal) : inEditedThread(task, signal);
  return (await result) as ResultOf<T>;
}

/** With the modules of this thread. */
export async function here(
  task: Task,
  signal?: AbortSignal,
): Promise<ExploreResult | ReplayResult> {
  if (task.command === 'explore') return await exploreWorkload(task.workload, task.options, signal);
  if (task.command === 'merge') return mergeCheckpoints(task.workload, task.files, task.options);
  return replaySchedule(task.schedule, task.workload, task.options);
}

async function inEditedThread(
  task: Task,
  signal?: AbortSignal,
): Promise<ExploreResult | ReplayResult> {
  const { filename, execArgv } = workerLaunch('explore', 'edited-exploration', task.options.edits);
  const worker = new Worker(new URL(filename), { execArgv, workerData: task });
  try {
    return resultOf(await answerFrom(worker, signal));
  } finally {
    await worker.terminate();
  }
}

async function answerFrom(
  worker: Worker,
  signal?: AbortSignal,
): Promise<Answer<ExploreResult | ReplayResult>> {
  try {
    const [answer] = (await once(worker, 'message', signal === undefined ? {} : { signal })) as [
      Answer<ExploreResult | ReplayResult>,
    ];
    return answer;
  } catch (error) {
    signal?.throwIfAborted();
    throw new WorkerDied(0, error);
  }
}
