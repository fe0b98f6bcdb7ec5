/** What a worker thread of an exploration does: one part after the other, on a subject of its own. */
import { workerData } from 'node:worker_threads';
import type { Subject } from '../../explore/subject.ts';
import { StuckError, UserError } from '../user-error.ts';
import type { StrategyOptions } from './options.ts';
import { explorePart, type PartReport, type PartTask } from './part-runner.ts';
import { loadTarget, type Overrides } from './target.ts';

/** What all parts have in common. */
export interface PartWorker {
  readonly workload: string;
  readonly options: StrategyOptions & Overrides;
}

/** A class of error is lost on its way to the main thread. */
export type PartAnswer =
  | PartReport
  | { readonly end: 'user-error' | 'stuck'; readonly message: string };

const { workload, options } = workerData as PartWorker;
let subject: Subject | null = null;

export default async function run(task: PartTask): Promise<PartAnswer> {
  try {
    subject ??= loadTarget(workload, options).subjectOf(options.seed);
    return await explorePart(subject, options, task, undefined);
  } catch (error) {
    if (error instanceof UserError) return { end: 'user-error', message: error.message };
    if (error instanceof StuckError) return { end: 'stuck', message: error.message };
    throw error;
  }
}
