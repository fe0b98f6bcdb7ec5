/** The worker threads of a run: one per agent, kept warm between runs. */
import { Piscina } from 'piscina';
import type { EngineMemory } from '../engine/port.ts';
import type { SourceEdit } from './edits.ts';
import { WorkerDied } from './user-error.ts';
import { workerLaunch, type WorkerEntry, type WorkerPort } from './worker-entry.ts';

/** Memory limits of one worker, MiB: a worker that outgrows them dies, and ends the run. */
const LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 32 } as const;

export interface PoolOptions {
  readonly threads: number;
  /** `explore` runs generators: all agents in one thread. */
  readonly port: WorkerPort;
  readonly entry: WorkerEntry;
  /** The shared memory of every run of this pool. */
  readonly memory: EngineMemory;
  /** What the workers' modules are to be changed by. */
  readonly edits?: readonly SourceEdit[] | undefined;
}

export class AgentPool {
  readonly #piscina: Piscina;

  /** Threads start at once; a task beyond `threads` would never start and a barrier never open, so there is none. */
  constructor(options: PoolOptions) {
    this.#piscina = new Piscina({
      ...workerLaunch(options.port, options.entry, options.edits),
      minThreads: options.threads,
      maxThreads: options.threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
      // A thread that holds all agents is as large as the run asks for.
      ...(options.port === 'explore' ? {} : { resourceLimits: LIMITS }),
      workerData: options.memory,
    });
  }

  /**
   * Runs one task on each thread; `onReport` sees each report at once, so that the other threads can be told to stop. A worker that dies
   * takes the others with it.
   * @throws WorkerDied when a worker died or its code threw: the first that did. The signal's reason when it was aborted.
   */
  async run<Report>(
    tasks: readonly object[],
    signal: AbortSignal,
    onReport: (report: Report) => void,
  ): Promise<Report[]> {
    if (tasks.length !== this.#piscina.threads.length) throw new Error('one task per thread');
    const failed = new AbortController();
    const signals = AbortSignal.any([signal, failed.signal]);
    let first: WorkerDied | undefined;
    const settled = await Promise.allSettled(
      tasks.map(async (task, index) => {
        try {
          const report = (await this.#piscina.run(task, { signal: signals })) as Report;
          onReport(report);
          return report;
        } catch (error) {
          first ??= new WorkerDied(index, error);
          failed.abort();
          throw error;
        }
      }),
    );
    signal.throwIfAborted();
    if (first !== undefined) throw first;
    return settled.map((result) => (result as PromiseFulfilledResult<Awaited<Report>>).value);
  }

  async close(): Promise<void> {
    await this.#piscina.destroy();
  }
}
