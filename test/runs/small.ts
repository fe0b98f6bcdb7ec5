/** Runs of shipped workloads, cut to a size for tests. */
import { runWorkload, type RunHooks } from '../../src/main/run.ts';
import type { RunOptions } from '../../src/main/run-options.ts';
import type { RunResult } from '../../src/main/result.ts';
import { pageBytesOf } from '../../src/machine/shape.ts';
import { loadWorkload } from '../../src/main/workload/workload.ts';
import type { Scenario } from '../../src/workers/scenario.ts';

/** One seed under `explore`. */
export const RUN_OPTIONS: RunOptions = {
  engine: 'explore',
  port: 'wasm',
  seed: 1,
  seeds: 1,
  seconds: null,
};

/** A shipped workload in its smallest size. */
export function small(name: string, overrides: Partial<Scenario> = {}): Scenario {
  return { ...loadWorkload(name, { explore: true, vcpus: overrides.vcpus }), ...overrides };
}

/** Runs it under `explore` unless the options say otherwise. */
export function runSmall(
  scenario: Scenario,
  options: Partial<RunOptions> = {},
  hooks: RunHooks = {},
): Promise<RunResult> {
  return runWorkload(scenario, { ...RUN_OPTIONS, ...options }, hooks);
}

export const verdictsOf = (result: RunResult): string[] =>
  result.violations.map(({ verdict }) => verdict);

/** Pages that hold the guest's own tables: of 48 bits, one of each level. */
export function guestTablePages({ stage1, machine }: Scenario): number {
  return stage1 === undefined ? 0 : Math.ceil((4 * 4096) / pageBytesOf(machine));
}
