/** Times batches that run on worker threads, by tinybench: the worker measures, so that no message is part of a figure. */
import { DEFAULT_PROFILE, type ProfileName } from '../../kvm/profile.ts';
import { Bench } from 'tinybench';
import { PLAIN_4K } from '../../machine/shape.ts';
import type { BenchTask } from '../../workers/bench-entry.ts';
import type { PgtableOperation } from '../../workers/bench-pgtable.ts';
import { mainAgent } from '../../workers/layout.ts';
import type { Scenario } from '../../workers/scenario.ts';
import type { BenchSize } from './bench.ts';
import { AgentPool } from '../pool.ts';
import type { BenchResult } from '../result.ts';
import { createSharedWorld, type SharedWorld } from '../shared-world.ts';

/** Pages and base of the slot that benchmarks use. */
const PAGE_BYTES = 4096;
const BASE = 0x4000_0000;
const NEVER = new AbortController().signal;

/** One benchmark: what is done to every page of a share of memory, by each vCPU. */
export interface BatchBench {
  readonly name: string;
  /** The default profile unless said otherwise. */
  readonly kvm?: ProfileName;
  readonly port: 'wasm' | 'js';
  readonly vcpus: number;
  readonly batch: 'guest' | PgtableOperation;
  readonly rounds: Scenario['rounds'];
  /** Pages per vCPU. */
  readonly pages: number;
  /** Operations of one batch of one vCPU. */
  readonly operations: number;
}

/** A scenario whose one slot gives each vCPU `pages` pages. Only a guest touches what is in them. */
function benchScenario(
  bench: Pick<BatchBench, 'vcpus' | 'pages' | 'rounds' | 'name' | 'batch' | 'kvm'>,
): Scenario {
  const pages = bench.pages * bench.vcpus;
  return {
    name: bench.name,
    description: '',
    kvm: bench.kvm ?? DEFAULT_PROFILE,
    twin: false,
    vcpus: bench.vcpus,
    machine: PLAIN_4K,
    ipaBits: 40,
    frames: pages,
    contents: bench.batch === 'guest' ? 'page' : 'line',
    slots: [{ base: BASE, bytes: pages * PAGE_BYTES, logging: false }],
    setup: [],
    ending: [],
    dirtyLog: 'harvest',
    rounds: bench.rounds,
    repeat: 1,
    failures: [],
  };
}

/** Nanoseconds per operation and vCPU. */
export async function benchBatches(batch: BatchBench, size: BenchSize): Promise<BenchResult> {
  const runner = batch.batch === 'guest' ? new GuestRunner(batch) : new OperationRunner(batch);
  try {
    return await measured(batch, runner, size);
  } finally {
    await runner.close();
  }
}

/** What times batches itself. */
interface Timed {
  /** Mean over the vCPUs of the time of one batch. */
  runNs(): Promise<number>;
}

/** What a figure is called. */
type Label = Pick<BatchBench, 'name' | 'vcpus' | 'operations' | 'kvm'> & {
  readonly port: NonNullable<BenchResult['port']>;
};

/** Nanoseconds per operation of batches that `timed` runs: warm-ups first. */
export async function measured(label: Label, timed: Timed, size: BenchSize): Promise<BenchResult> {
  const runMs = async (): Promise<{ overriddenDuration: number }> => ({
    overriddenDuration: (await timed.runNs()) / 1e6,
  });
  for (let i = 0; i < size.warmups; i++) await runMs();
  const bench = new Bench({ iterations: size.batches, time: 0, warmup: false });
  bench.add(label.name, runMs, { async: true });
  await bench.run();
  return resultOf(label, bench);
}

function resultOf(label: Label, bench: Bench): BenchResult {
  const result = bench.tasks[0]?.result;
  if (result?.state !== 'completed')
    throw new Error(`${label.name} did not complete`, { cause: result });
  const ns = (ms: number): number => (ms * 1e6) / label.operations;
  const { p50, p99, min } = result.latency;
  return {
    name: label.name,
    kvm: label.kvm ?? DEFAULT_PROFILE,
    vcpus: label.vcpus,
    port: label.port,
    unit: 'ns',
    p50: ns(p50),
    p99: ns(p99),
    min: ns(min),
    ratioTo: {},
  };
}

interface Runner extends Timed {
  close(): Promise<void>;
}

/** All vCPUs and the host agent in one world. */
export class GuestRunner implements Runner {
  readonly shared: SharedWorld;
  readonly #pool: AgentPool;
  readonly #tasks: readonly BenchTask[];
  readonly #vcpus: number;

  constructor(batch: BatchBench) {
    const scenario = benchScenario(batch);
    this.shared = createSharedWorld(scenario);
    const { memory, layout } = this.shared;
    const threads = mainAgent(layout);
    this.#vcpus = batch.vcpus;
    this.#pool = new AgentPool({ threads, port: batch.port, entry: 'bench-entry', memory });
    this.#tasks = Array.from({ length: threads }, (_, agent): BenchTask => {
      return { scenario, agent, batch: 'guest' };
    });
  }

  async runNs(): Promise<number> {
    const times = await this.#pool.run<number>(this.#tasks, NEVER, () => {});
    return times.reduce((sum, ns) => sum + ns, 0) / this.#vcpus;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}

/** A world and a thread of its own for each vCPU: the operation alone. */
class OperationRunner implements Runner {
  readonly #pools: readonly AgentPool[];
  readonly #tasks: readonly BenchTask[];

  constructor(batch: BatchBench) {
    const scenario = benchScenario({ ...batch, vcpus: 1 });
    this.#tasks = [{ scenario, agent: 0, batch: batch.batch }];
    this.#pools = Array.from({ length: batch.vcpus }, () => {
      const { memory } = createSharedWorld(scenario);
      return new AgentPool({ threads: 1, port: batch.port, entry: 'bench-entry', memory });
    });
  }

  async runNs(): Promise<number> {
    const run = async (pool: AgentPool): Promise<number[]> => {
      return pool.run<number>(this.#tasks, NEVER, () => {});
    };
    const times = (await Promise.all(this.#pools.map(run))).flat();
    return times.reduce((sum, ns) => sum + ns, 0) / times.length;
  }

  async close(): Promise<void> {
    await Promise.all(this.#pools.map(async (pool) => pool.close()));
  }
}
