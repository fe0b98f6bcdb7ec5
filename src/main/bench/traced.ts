/**
 * `bench traced`: the same accesses with the events of the threads checked and without: what `run --check` costs.
 *
 * Can show: how much slower a run becomes on this machine, where the worker of the checkers takes its share of the cores too. Cannot show: how rare
 * a race becomes.
 */
import type { ProfileName } from '../../kvm/profile.ts';
import { pageBytesOf } from '../../machine/shape.ts';
import type { Scenario } from '../../workers/scenario.ts';
import { STATISTICS } from '../../workers/statistics.ts';
import { measured } from './batches.ts';
import type { BenchSize } from './bench.ts';
import type { BenchResult } from '../result.ts';
import type { Output, RunOptions } from '../run-options.ts';
import { ThreadRunner } from '../run-threads.ts';
import { Totals } from '../totals.ts';
import { loadWorkload } from '../workload/workload.ts';

const VCPUS = 2;
/** Faults one after the other, and side by side. */
const GENERATIONS: readonly ProfileName[] = ['5.10', '6.12'];

/** Without checkers, and with them. */
type Port = 'wasm' | 'traced';
const NAMES = { wasm: 'traced/threads', traced: 'traced/check' } as const;

export async function benchTraced(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const kvm of GENERATIONS) {
    if (io.isTTY) io.stderr.write(`traced ${kvm}\n`);
    const threads = await benchPort(size, kvm, 'wasm');
    const check = await benchPort(size, kvm, 'traced');
    results.push(threads, { ...check, ratioTo: { threads: check.p50 / threads.p50 } });
  }
  return results;
}

/** Nanoseconds of an access, each of which faults, and vCPU. */
async function benchPort(size: BenchSize, kvm: ProfileName, port: Port): Promise<BenchResult> {
  const scenario = scenarioOf(size.pages, kvm);
  const options: RunOptions = { engine: 'threads', port, seed: 1, seeds: 1, seconds: null };
  const runner = new ThreadRunner(scenario, options, {});
  const runNs = async (): Promise<number> => {
    await runner.run(options.seed);
    const totals = new Totals();
    totals.add(runner.shared.memory, runner.shared.layout);
    return totals.counter(STATISTICS.wallNs);
  };
  try {
    const label = { name: NAMES[port], kvm, vcpus: VCPUS, port, operations: size.pages / VCPUS };
    return await measured(label, { runNs }, size);
  } finally {
    await runner.close();
  }
}

/** `pages` first touches, shared out among the vCPUs. */
function scenarioOf(pages: number, kvm: ProfileName): Scenario {
  const scenario = loadWorkload('demand-paging', { vcpus: VCPUS, kvm, explore: false });
  const bytes = pages * pageBytesOf(scenario.machine);
  const slots = scenario.slots.map((slot) => ({ ...slot, bytes }));
  return { ...scenario, slots, repeat: 1 };
}
