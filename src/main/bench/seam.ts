/**
 * `bench seam`: what the seam between one source and two engines costs. The stripped map path against a plain function written by hand
 * that makes the same accesses; steps of the unstripped source per second; start and memory of worker threads.
 */
import { DEFAULT_PROFILE } from '../../kvm/profile.ts';
import { readFileSync } from 'node:fs';
import type { EngineMemory } from '../../engine/port.ts';
import type { Scheduler } from '../../engine/execution.ts';
import { RandomScheduler } from '../../explore/random.ts';
import { RoundRobin } from '../../explore/round-robin.ts';
import type { BenchTask } from '../../workers/bench-entry.ts';
import { benchBatches } from './batches.ts';
import type { BenchSize } from './bench.ts';
import { AgentPool } from '../pool.ts';
import type { BenchResult } from '../result.ts';
import { exploreSteps } from '../run-explore.ts';
import type { Output } from '../run-options.ts';
import { createSharedWorld } from '../shared-world.ts';
import { loadWorkload } from '../workload/workload.ts';

/** Executions of one batch under `explore`; steps of an agent's turn where agents run in turn. */
const SEEDS_PER_BATCH = 50;
const LONG_TURN = 10_000;
const COMMON = { kvm: DEFAULT_PROFILE, ratioTo: {} } as const;

export async function benchSeam(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results = await mapBenches(size);
  if (io.isTTY) io.stderr.write('explore\n');
  results.push(...exploreBenches(size));
  for (const workers of size.workers) {
    if (io.isTTY) io.stderr.write(`${workers} workers\n`);
    results.push(...(await workerStart(workers)));
  }
  return results;
}

/** One right after the other: a ratio within one run. */
async function mapBenches(size: BenchSize): Promise<BenchResult[]> {
  const common = {
    port: 'wasm',
    vcpus: 1,
    rounds: [],
    pages: size.pages,
    operations: size.pages,
  } as const;
  const byHand = await benchBatches(
    { ...common, name: 'seam/map-by-hand', batch: 'mapByHand' },
    size,
  );
  const stripped = await benchBatches({ ...common, name: 'seam/map-stripped', batch: 'map' }, size);
  return [byHand, { ...stripped, ratioTo: { byHand: stripped.p50 / byHand.p50 } }];
}

/** Scheduling points that `explore` passes in a second, over whole executions: agents switch at nearly each of them, or hardly ever. */
function exploreBenches(size: BenchSize): BenchResult[] {
  return [
    stepsPerSecond('seam/explore-random', size, (seed) => new RandomScheduler(seed)),
    stepsPerSecond('seam/explore-in-turn', size, () => new RoundRobin(LONG_TURN)),
  ];
}

function stepsPerSecond(
  name: string,
  size: BenchSize,
  schedulerOf: (seed: number) => Scheduler,
): BenchResult {
  const scenario = loadWorkload('permission-storm', { explore: true });
  const shared = createSharedWorld(scenario);
  shared.explore.baseline();
  const rates: number[] = [];
  for (let batch = -size.warmups; batch < size.batches; batch++) {
    const since = performance.now();
    const steps = exploreSteps(shared, SEEDS_PER_BATCH, schedulerOf);
    const perSecond = steps / ((performance.now() - since) / 1000);
    if (batch >= 0) rates.push(perSecond);
  }
  rates.sort((a, b) => a - b);
  const at = (share: number): number =>
    rates[Math.min(rates.length - 1, Math.floor(rates.length * share))] ?? 0;
  return {
    ...COMMON,
    name,
    vcpus: scenario.vcpus,
    port: 'explore',
    unit: 'steps/s',
    p50: at(0.5),
    p99: at(0.01),
    min: at(0),
  };
}

/** From no thread to all of them ready, and the memory that they added to the process. */
async function workerStart(threads: number): Promise<BenchResult[]> {
  const before = residentBytes();
  const since = performance.now();
  const pool = new AgentPool({
    threads,
    port: 'wasm',
    entry: 'bench-entry',
    memory: smallMemory(),
  });
  try {
    const idle = Array.from({ length: threads }, (): BenchTask => ({ batch: 'idle' }));
    await pool.run<number>(idle, new AbortController().signal, () => {});
    const ms = performance.now() - since;
    const mib = Math.max(0, residentBytes() - before) / threads / 2 ** 20;
    const one = (name: string, unit: string, value: number): BenchResult => {
      return {
        ...COMMON,
        name,
        vcpus: threads,
        port: 'wasm',
        unit,
        p50: value,
        p99: value,
        min: value,
      };
    };
    return [one('seam/worker-start', 'ms, all', ms), one('seam/worker-memory', 'MiB, each', mib)];
  } finally {
    await pool.close();
  }
}

function smallMemory(): EngineMemory {
  return new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
}

/** Proportional share of the process's pages on Linux; elsewhere its resident set. */
function residentBytes(): number {
  if (process.platform !== 'linux') return process.memoryUsage.rss();
  const pss = /^Pss:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'));
  return Number(pss?.[1] ?? 0) * 1024;
}
