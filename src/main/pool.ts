/** The worker threads of a run: one per agent, kept warm between runs. */
import { Piscina } from 'piscina';
import type { ThreadReport, ThreadTask } from '../workers/thread-entry.ts';
import { StuckError } from './user-error.ts';
import { workerLaunch } from './worker-entry.ts';

/** Memory limits of one worker, MiB: a worker that outgrows them dies, and ends the run. */
const LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 32 } as const;

export interface PoolOptions {
  readonly threads: number;
  readonly port: 'wasm' | 'js';
  /** Another module than the vCPU thread: tests only. */
  readonly entry?: URL;
}

export class AgentPool {
  readonly #piscina: Piscina;

  /** Threads start at once; a task beyond `threads` would never start and a barrier never open, so there is none. */
  constructor(options: PoolOptions) {
    this.#piscina = new Piscina({
      ...workerLaunch(options.port, options.entry),
      minThreads: options.threads,
      maxThreads: options.threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
      resourceLimits: LIMITS,
    });
  }

  /**
   * Runs one task on each thread. The first failure ends them all: `onFailure` is called when a task reports one, so that the
   * others can be told to stop; a dead worker takes the others with it.
   * @throws StuckError when a worker died or an agent's code failed; it carries that error.
   */
  async run(
    tasks: readonly ThreadTask[],
    signal: AbortSignal,
    onFailure: () => void,
  ): Promise<ThreadReport[]> {
    if (tasks.length !== this.#piscina.threads.length) throw new Error('one task per thread');
    const failed = new AbortController();
    const signals = AbortSignal.any([signal, failed.signal]);
    let first: unknown;
    const settled = await Promise.allSettled(
      tasks.map(async (task) => {
        try {
          const report = (await this.#piscina.run(task, { signal: signals })) as ThreadReport;
          if (report.end === 'failed') onFailure();
          return report;
        } catch (error) {
          first ??= error;
          failed.abort();
          throw error;
        }
      }),
    );
    signal.throwIfAborted();
    if (first !== undefined)
      throw new StuckError(`a worker died: ${describe(first)}`, { cause: first });
    return settled.map((result) => (result as PromiseFulfilledResult<ThreadReport>).value);
  }

  async close(): Promise<void> {
    await this.#piscina.destroy();
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
