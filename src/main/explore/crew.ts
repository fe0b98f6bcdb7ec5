/** Who explores parts: this thread, or several others. */
import { Piscina } from 'piscina';
import type { Subject } from '../../explore/subject.ts';
import { resultOf, type Answer } from '../answer.ts';
import { WorkerDied } from '../user-error.ts';
import { workerLaunch, type WorkerLaunch } from '../worker-entry.ts';
import type { StrategyOptions } from './options.ts';
import type { PartWorker } from './part-entry.ts';
import { explorePart, type PartReport, type PartTask } from './part-runner.ts';

export interface Crew {
  /** Parts that are explored at the same time. */
  readonly size: number;
  run(task: PartTask): Promise<PartReport>;
  close(): Promise<void>;
}

export class ThisThread implements Crew {
  readonly size = 1;
  readonly #subject: Subject;
  readonly #options: StrategyOptions;
  readonly #signal: AbortSignal | undefined;

  constructor(subject: Subject, options: StrategyOptions, signal: AbortSignal | undefined) {
    this.#subject = subject;
    this.#options = options;
    this.#signal = signal;
  }

  async run(task: PartTask): Promise<PartReport> {
    return await explorePart(this.#subject, this.#options, task, this.#signal);
  }

  async close(): Promise<void> {}
}

export class WorkerThreads implements Crew {
  readonly size: number;
  readonly #piscina: Piscina;
  readonly #signal: AbortSignal | undefined;

  constructor(size: number, workerData: PartWorker, signal: AbortSignal | undefined) {
    this.size = size;
    this.#signal = signal;
    this.#piscina = new Piscina({
      ...launchOf(workerData),
      maxThreads: size,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      workerData,
    });
  }

  /** @throws WorkerDied when a worker died or its code threw; the signal's reason when it was aborted. */
  async run(task: PartTask): Promise<PartReport> {
    return resultOf(await this.#answerTo(task));
  }

  async close(): Promise<void> {
    await this.#piscina.destroy();
  }

  async #answerTo(task: PartTask): Promise<Answer<PartReport>> {
    try {
      const signal = this.#signal;
      return (await this.#piscina.run(
        task,
        signal === undefined ? {} : { signal },
      )) as Answer<PartReport>;
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw new WorkerDied(0, error);
    }
  }
}

/** Edited modules come from the sources. */
function launchOf({ options: { edits = [] } }: PartWorker): WorkerLaunch {
  if (edits.length > 0) return workerLaunch('explore', 'part-entry', edits);
  const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return { filename: new URL(`part-entry.${suffix}`, import.meta.url).href, execArgv: [] };
}
