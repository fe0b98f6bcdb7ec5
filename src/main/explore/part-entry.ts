/** What a worker thread of an exploration does: one part after the other, on a subject of its own. */
import { workerData } from 'node:worker_threads';
import type { Subject } from '../../explore/subject.ts';
import { answerTo, type Answer } from '../answer.ts';
import type { StrategyOptions } from './options.ts';
import { explorePart, type PartReport, type PartTask } from './part-runner.ts';
import { loadTarget, type Overrides } from './target.ts';

/** What all parts have in common. */
export interface PartWorker {
  readonly workload: string;
  readonly options: StrategyOptions & Overrides;
}

const { workload, options } = workerData as PartWorker;
let subject: Subject | null = null;

export default async function run(task: PartTask): Promise<Answer<PartReport>> {
  return await answerTo(async () => {
    subject ??= loadTarget(workload, options).subjectOf(options.seed);
    return await explorePart(subject, options, task, undefined);
  });
}
