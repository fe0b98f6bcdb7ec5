/** Runs on worker threads: one per agent. */
import { Stop } from '../engine/port.ts';
import { Order, drive, store32 } from '#port';
import { mainAgent } from '../workers/layout.ts';
import type { Duration } from '../workers/rounds.ts';
import type { Scenario } from '../workers/scenario.ts';
import type { ThreadReport, ThreadTask } from '../workers/thread-entry.ts';
import { AgentPool } from './pool.ts';
import { progressOf } from './progress-of.ts';
import type { RunOptions } from './run-options.ts';
import type { EventFinding } from './event-checkers.ts';
import type { SeedRunner } from './seed-runner.ts';
import { bindSharedWorld, createSharedWorld, type SharedWorld } from './shared-world.ts';
import { heldLocks, lockHands, whoOf } from './stuck-locks.ts';
import { TraceCheck } from './trace-check.ts';
import { StuckError, UserError, WorkerDied } from './user-error.ts';

/** How often the main thread looks at a run, milliseconds. */
const LOOK_MS = 100;
/** A run in which no vCPU and no host pass makes a step for so long is stuck. */
const STUCK_MS = 30_000;

/** Seams for tests: worker modules instead of ours. */
export interface WorkerHooks {
  /** Of the agents. */
  readonly entry?: URL;
  /** Of the checkers of events. */
  readonly checkEntry?: URL;
}

export class ThreadRunner implements SeedRunner {
  shared: SharedWorld;
  readonly eventDigest = null;
  readonly #options: RunOptions;
  readonly #pool: AgentPool;
  /** Who checks events; null where none are recorded. */
  readonly #check: TraceCheck | null;
  #isUsed = false;

  /** `hooks`: other worker modules than ours, for tests. */
  constructor(scenario: Scenario, options: RunOptions, { entry, checkEntry }: WorkerHooks) {
    this.#options = options;
    this.shared = createSharedWorld(scenario);
    this.#pool = new AgentPool({
      threads: mainAgent(this.shared.layout),
      port: options.port,
      entry: entry ?? 'thread-entry',
      memory: this.shared.memory,
      edits: options.edits,
    });
    this.#check = options.port === 'traced' ? new TraceCheck(this.shared, checkEntry) : null;
  }

  get events(): number | null {
    return this.#check?.events ?? null;
  }

  get findings(): readonly EventFinding[] {
    return this.#check?.findings ?? [];
  }

  async run(seed: number): Promise<void> {
    if (this.#isUsed) this.shared = renewed(this.shared);
    this.#isUsed = true;
    const tasks = tasksOf(this.shared, this.#options, seed, this.#check?.ring);
    await watched(this.shared, this.#options, seed, async (signal) => {
      if (this.#check === null) await this.#runAgents(tasks, signal);
      else {
        await this.#check.during(signal, {
          agents: () => this.#runAgents(tasks, signal),
          stop: () => stop(this.shared),
        });
      }
    });
  }

  async #runAgents(tasks: readonly ThreadTask[], signal: AbortSignal): Promise<void> {
    const stopOthers = (report: ThreadReport): void => {
      if (report.end === 'failed') stop(this.shared);
    };
    try {
      endOn(await this.#pool.run<ThreadReport>(tasks, signal, stopOthers));
    } catch (error) {
      throw error instanceof WorkerDied ? withHolder(error, this.shared) : error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#pool.close(), this.#check?.close()]);
  }
}

/** The same memory, zeroed. */
function renewed({ memory, world }: SharedWorld): SharedWorld {
  new Uint8Array(memory.buffer).fill(0);
  return bindSharedWorld(world.scenario, memory);
}

function tasksOf(
  shared: SharedWorld,
  options: RunOptions,
  seed: number,
  ring: SharedArrayBuffer | undefined,
): ThreadTask[] {
  const { scenario } = shared.world;
  const duration: Duration =
    options.seconds === null ? { rounds: scenario.repeat } : { ns: options.seconds * 1e9 };
  return Array.from({ length: mainAgent(shared.layout) }, (_, agent) => ({
    scenario,
    agent,
    seed,
    duration,
    ring,
  }));
}

/** Every wait of an agent sees this within one slice of its sleep. */
function stop({ layout }: SharedWorld): void {
  drive(store32(layout.words.stop, Stop.abort, Order.release));
}

/** Names what the agent held: nobody will give it back. */
function withHolder(death: WorkerDied, shared: SharedWorld): StuckError {
  const held = heldLocks(shared, death.task);
  if (held.length === 0) return death;
  return new StuckError(`${death.message}; ${whoOf(shared, death.task)} held ${held.join(', ')}`, {
    cause: death.cause,
  });
}

/** An agent that failed is what the others were stopped for. */
function endOn(reports: readonly ThreadReport[]): void {
  for (const report of reports) {
    if (report.end !== 'failed') continue;
    if (report.kind === 'noMemory') throw new UserError(report.message);
    throw new StuckError(report.message);
  }
}

/**
 * Does the work of one seed on worker threads under a watch, which reports progress. `work` gets a signal that ends it: the user's, or
 * the watch's own.
 * @throws StuckError when nothing moved for too long: with who holds which lock then, and who waits for which.
 */
export async function watched<T>(
  shared: SharedWorld,
  options: RunOptions,
  seed: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const watch = new Watch(shared, options, seed);
  const { signal } = options;
  try {
    return await work(AbortSignal.any(signal ? [watch.signal, signal] : [watch.signal]));
  } catch (error) {
    if (!watch.signal.aborted) throw error;
    const still = `no agent made a step for ${STUCK_MS / 1000} s`;
    throw new StuckError(still + lockHands(shared), { cause: error });
  } finally {
    watch.end();
  }
}

/** Looks at a run from outside: progress, and whether there still is any. */
class Watch {
  readonly #shared: SharedWorld;
  readonly #options: RunOptions;
  readonly #seed: number;
  readonly #stuck = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #lastSteps = -1;
  #stillMs = 0;

  constructor(shared: SharedWorld, options: RunOptions, seed: number) {
    this.#shared = shared;
    this.#options = options;
    this.#seed = seed;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** Aborted once nothing has moved for too long. */
  get signal(): AbortSignal {
    return this.#stuck.signal;
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { steps, ...progress } = progressOf(this.#shared);
    this.#stillMs = steps === this.#lastSteps ? this.#stillMs + LOOK_MS : 0;
    this.#lastSteps = steps;
    if (this.#stillMs >= STUCK_MS) this.#stuck.abort();
    this.#options.onProgress?.({ ...progress, seed: this.#seed });
  }
}
