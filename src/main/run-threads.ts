/** Runs on worker threads: one per vCPU and one for the host. */
import { Stop } from '../engine/port.ts';
import { drive, store32, Order, read32 } from '#port';
import { hostAgent, statisticsOf, type Layout } from '../workers/layout.ts';
import type { Duration } from '../workers/rounds.ts';
import type { Scenario } from '../workers/scenario.ts';
import { STATISTICS } from '../workers/statistics.ts';
import type { ThreadReport, ThreadTask } from '../workers/thread-entry.ts';
import { AgentPool } from './pool.ts';
import type { Violation } from './result.ts';
import type { EngineRun, RunHooks } from './run.ts';
import type { RunOptions } from './run-options.ts';
import { bindSharedWorld, createSharedWorld, type SharedWorld } from './shared-world.ts';
import { Totals } from './totals.ts';
import { StuckError, UserError } from './user-error.ts';
import { verify, type Verification } from './verify/verify.ts';
import { violationsOf } from './violations.ts';

/** How often the main thread looks at a run, milliseconds. */
const LOOK_MS = 100;
/** A run in which no vCPU and no host pass makes a step for so long is stuck. */
const STUCK_MS = 30_000;

export async function runThreads(
  scenario: Scenario,
  options: RunOptions,
  hooks: RunHooks,
): Promise<EngineRun> {
  let shared = createSharedWorld(scenario);
  const pool = new AgentPool({
    threads: scenario.vcpus + 1,
    port: options.port,
    entry: hooks.entry ?? 'thread-entry',
    memory: shared.memory,
  });
  const totals = new Totals();
  let violations: Violation[] = [];
  let verification: Verification | undefined;
  let seeds = 0;
  try {
    for (; seeds < options.seeds && violations.length === 0; seeds++) {
      const seed = options.seed + seeds;
      if (seeds > 0) shared = renew(scenario, shared);
      await runOnce(pool, shared, options, seed);
      totals.add(shared.memory, shared.layout);
      hooks.beforeVerify?.(shared);
      verification = verify(shared.world);
      violations = violationsOf(shared, verification, options, seed);
    }
  } finally {
    await pool.close();
  }
  if (verification === undefined) throw new Error('a run without a seed');
  return { totals, verification, violations, seeds, eventDigest: null };
}

/** The same memory, zeroed. */
function renew(scenario: Scenario, shared: SharedWorld): SharedWorld {
  new Uint8Array(shared.memory.buffer).fill(0);
  return bindSharedWorld(scenario, shared.memory);
}

async function runOnce(
  pool: AgentPool,
  shared: SharedWorld,
  options: RunOptions,
  seed: number,
): Promise<void> {
  const watch = new Watch(shared, options, seed);
  const signals = [watch.signal, ...(options.signal === undefined ? [] : [options.signal])];
  try {
    const tasks = tasksOf(shared, options, seed);
    const stopOthers = (report: ThreadReport): void => {
      if (report.end === 'failed') stop(shared);
    };
    endOn(await pool.run(tasks, AbortSignal.any(signals), stopOthers));
  } catch (error) {
    if (watch.isStuck())
      throw new StuckError(`no agent made a step for ${STUCK_MS / 1000} s`, { cause: error });
    throw error;
  } finally {
    watch.end();
  }
}

function tasksOf(shared: SharedWorld, options: RunOptions, seed: number): ThreadTask[] {
  const { scenario } = shared.world;
  const duration: Duration =
    options.seconds === null ? { rounds: scenario.repeat } : { ns: options.seconds * 1e9 };
  return Array.from({ length: scenario.vcpus + 1 }, (_, agent) => ({
    scenario,
    agent,
    seed,
    duration,
  }));
}

/** Every wait of an agent sees this within one slice of its sleep. */
function stop({ layout }: SharedWorld): void {
  drive(store32(layout.words.stop, Stop.abort, Order.release));
}

/** An agent that failed is what the others were stopped for. */
function endOn(reports: readonly ThreadReport[]): void {
  for (const report of reports) {
    if (report.end !== 'failed') continue;
    if (report.kind === 'noMemory') throw new UserError(report.message);
    throw new StuckError(report.message);
  }
}

/** Looks at a run from outside: progress, and whether there still is any. */
class Watch {
  readonly #shared: SharedWorld;
  readonly #options: RunOptions;
  readonly #seed: number;
  readonly #stuck = new AbortController();
  readonly #floats: Float64Array;
  readonly #timer: NodeJS.Timeout;
  #lastSteps = -1;
  #stillMs = 0;

  constructor(shared: SharedWorld, options: RunOptions, seed: number) {
    this.#shared = shared;
    this.#options = options;
    this.#seed = seed;
    this.#floats = new Float64Array(shared.memory.buffer);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  get signal(): AbortSignal {
    return this.#stuck.signal;
  }

  isStuck(): boolean {
    return this.#stuck.signal.aborted;
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { layout } = this.#shared;
    const accesses = this.#sum(layout, STATISTICS.accesses);
    const faults =
      this.#sum(layout, STATISTICS.faults.translation.faults) +
      this.#sum(layout, STATISTICS.faults.permission.faults) +
      this.#sum(layout, STATISTICS.faults.access.faults);
    const steps = accesses + faults + this.#sum(layout, STATISTICS.locks.mmu_lock.acquisitions);
    this.#stillMs = steps === this.#lastSteps ? this.#stillMs + LOOK_MS : 0;
    this.#lastSteps = steps;
    if (this.#stillMs >= STUCK_MS) this.#stuck.abort();
    const round = read32(layout.words.rounds);
    this.#options.onProgress?.({ round, accesses, faults, seed: this.#seed });
  }

  /** Racy plain reads: a display may be a moment behind. */
  #sum(layout: Layout, offset: number): number {
    let sum = 0;
    for (let agent = 0; agent <= hostAgent(layout); agent++) {
      sum += this.#floats[(statisticsOf(layout, agent) + offset) / 8] as number;
    }
    return sum;
  }
}
