/** A run: every seed in turn on the chosen engine, verified after each, and the figures of all. */
import { read32 } from '#port';
import { failuresAmong } from '../machine/failure-point.ts';
import { HOLD_SAMPLE } from '../locking/lock-account.ts';
import { geometryOf } from '../machine/shape.ts';
import { STATISTICS } from '../workers/statistics.ts';
import { LATENCY_SAMPLE } from '../workers/vcpu-agent.ts';
import type { Scenario } from '../workers/scenario.ts';
import { EditedExploreRunner } from './edited-explore.ts';
import { editsHash } from './edits.ts';
import { environment } from './environment.ts';
import { leavesBySize } from './granule.ts';
import type { Environment, RunResult, Violation } from './result.ts';
import { ExploreRunner } from './run-explore.ts';
import type { RunOptions } from './run-options.ts';
import { ThreadRunner, type WorkerHooks } from './run-threads.ts';
import type { SeedRunner } from './seed-runner.ts';
import type { SharedWorld } from './shared-world.ts';
import { Totals } from './totals.ts';
import { StuckError } from './user-error.ts';
import { UNVERIFIED, verify, type Finding, type Verification } from './verify/verify.ts';
import { violationsOf } from './violations.ts';

/** Seams for tests. */
export interface RunHooks extends WorkerHooks {
  /** Called after the agents ended and before the verification: a test breaks something here. */
  readonly beforeVerify?: (shared: SharedWorld) => void;
}

/**
 * Runs a scenario. Ends at the first seed that violates something.
 * @throws UserError for what cannot be run, StuckError for a deadlock, a livelock or a dead worker before which nothing
 * had been found.
 */
export async function runWorkload(
  scenario: Scenario,
  options: RunOptions,
  hooks: RunHooks = {},
): Promise<RunResult> {
  const before = environment();
  const runner = runnerOf(scenario, options, hooks);
  try {
    const run = await runSeeds(runner, options, hooks);
    return resultOf(scenario, options, before, run);
  } finally {
    await runner.close();
  }
}

function runnerOf(scenario: Scenario, options: RunOptions, hooks: RunHooks): SeedRunner {
  const { engine, edits = [] } = options;
  if (engine === 'threads') return new ThreadRunner(scenario, options, hooks);
  if (edits.length > 0) return new EditedExploreRunner(scenario, options, edits);
  return new ExploreRunner(scenario, options);
}

/** What all seeds came to. */
interface SeedsRun {
  readonly totals: Totals;
  /** Of the last seed run. */
  readonly verification: Verification;
  readonly violations: readonly Violation[];
  /** Seeds run: fewer than asked for if one was violated. */
  readonly seeds: number;
  readonly eventDigest: string | null;
  /** See `SeedRunner.events`. */
  readonly events: number | null;
  readonly failures: NonNullable<RunResult['failures']>;
}

async function runSeeds(
  runner: SeedRunner,
  options: RunOptions,
  hooks: RunHooks,
): Promise<SeedsRun> {
  const totals = new Totals();
  for (let seeds = 1; ; seeds++) {
    const seed = options.seed + seeds - 1;
    const early = await runSeed(runner, seed);
    const { shared, eventDigest, events } = runner;
    totals.add(shared.memory, shared.layout);
    hooks.beforeVerify?.(shared);
    const found = early ?? runner.findings;
    const verification = early === null ? verify(shared.worlds) : UNVERIFIED;
    const violations = violationsOf(shared, { ...verification, events: found }, options, seed);
    if (violations.length > 0 || seeds === options.seeds) {
      const failures = failuresOf(shared);
      return { totals, verification, violations, seeds, eventDigest, events, failures };
    }
  }
}

/** Runs a seed. Null at its end; if it came early, and something had been found until then, that and how it ended. */
async function runSeed(runner: SeedRunner, seed: number): Promise<readonly Finding[] | null> {
  try {
    await runner.run(seed);
    return null;
  } catch (error) {
    if (!(error instanceof StuckError) || error.findings.length === 0) throw error;
    return [...error.findings, { verdict: 'stuck', message: error.message }];
  }
}

/** What failed on purpose in a finished run. */
function failuresOf({ world }: SharedWorld): NonNullable<RunResult['failures']> {
  return world.scenario.failures.map((plan) => {
    const attempts = read32(world.layout.failures[plan.site]);
    return { site: plan.site, attempts, failed: failuresAmong(plan, attempts) };
  });
}

function migrationOf(totals: Totals, { copies }: Verification): Pick<RunResult, 'migration'> {
  if (copies === null) return {};
  const harvests = totals.counter(STATISTICS.harvests);
  const pagesCopied = totals.counter(STATISTICS.pagesCopied);
  return { migration: { harvests, pagesCopied, ...copies } };
}

function traceOf({ totals, events }: SeedsRun): Pick<RunResult, 'trace'> {
  if (events === null) return {};
  const seconds = totals.counter(STATISTICS.wallNs) / 1e9;
  return { trace: { events, perSecond: seconds > 0 ? events / seconds : 0 } };
}

function resultOf(
  scenario: Scenario,
  options: RunOptions,
  before: Environment,
  run: SeedsRun,
): RunResult {
  const { totals, verification, violations } = run;
  const { edits = [] } = options;
  return {
    schema: 'faultline.run/1',
    ok: violations.length === 0,
    workload: scenario.name,
    engine: options.engine,
    port: options.engine === 'threads' ? options.port : 'explore',
    ...traceOf(run),
    kvm: scenario.kvm,
    vcpus: scenario.vcpus,
    seed: options.seed,
    seeds: { first: options.seed, count: run.seeds },
    wallSeconds: totals.counter(STATISTICS.wallNs) / 1e9,
    guestAccesses: totals.counter(STATISTICS.accesses),
    faults: totals.faults(),
    exits: totals.counter(STATISTICS.exits),
    walks: {
      translation: totals.walks('translation'),
      permission: totals.walks('permission'),
      access: totals.walks('access'),
    },
    latencyNs: {
      translation: totals.latency('translation'),
      permission: totals.latency('permission'),
      access: totals.latency('access'),
    },
    locks: totals.locks(),
    tlbi: totals.tlbi(),
    tables: {
      digest: verification.digest,
      pages: verification.tablePages,
      leaves: leavesBySize(geometryOf(scenario.machine), verification.leaves),
    },
    ...(verification.twin === null ? {} : { twin: verification.twin }),
    ...migrationOf(totals, verification),
    check: { digest: verification.comparison, leaves: verification.referenceLeaves },
    ...(scenario.failures.length > 0 ? { failures: run.failures } : {}),
    sampling: { latency: LATENCY_SAMPLE, hold: HOLD_SAMPLE },
    eventDigest: run.eventDigest,
    ...(edits.length > 0 ? { edits: edits.length, editsHash: editsHash(edits) } : {}),
    environment: before,
    violations,
  };
}
