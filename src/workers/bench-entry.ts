/** What a worker thread of a benchmark runs: one batch, timed where the work is done. Ordinary code around stripped core code. */
import { attach, drive } from '#port';
import {
  LOCK_BENCH_STOP,
  lockBenchStatistics,
  runLockBatch,
  type LockBatch,
} from './bench-locks.ts';
import { PgtableBatch, type PgtableOperation } from './bench-pgtable.ts';
import { HostAgent } from './host-agent.ts';
import { hostAgent, layoutOf, statisticsOf } from './layout.ts';
import { runAgent, runConductor } from './rounds.ts';
import type { Scenario } from './scenario.ts';
import { threadMemory } from './thread-memory.ts';
import { TimedVcpu } from './timed-vcpu.ts';
import { VcpuAgent } from './vcpu-agent.ts';
import { worldOf } from './world.ts';

/** One batch on one thread; an idle one shows that the thread is up. */
export type BenchTask = { readonly batch: 'idle' } | LockTask | BatchTask;

interface LockTask extends LockBatch {
  readonly batch: 'locks';
}

interface BatchTask {
  readonly scenario: Scenario;
  readonly agent: number;
  /** `guest`: one round of the scenario, its guest programs timed; otherwise a page-table operation on every page of the first slot. */
  readonly batch: 'guest' | PgtableOperation;
}

/** Nanoseconds of the timed part; 0 for the host agent and an idle thread. */
export default function runBench(task: BenchTask): number {
  if (task.batch === 'idle') return 0;
  if (task.batch === 'locks') return runLocks(task);
  const { scenario, agent, batch } = task;
  const layout = layoutOf(scenario);
  const statistics = statisticsOf(layout, agent);
  attach({ memory: threadMemory(), statistics, stop: layout.words.stop, seed: 1 });
  const world = worldOf(scenario, layout, agent);
  if (batch !== 'guest') return drive(new PgtableBatch(world).run(batch));
  if (agent === hostAgent(layout)) {
    drive(runConductor(world, new HostAgent(world, 0, 1), { rounds: 1 }));
    return 0;
  }
  const vcpu = new TimedVcpu(new VcpuAgent(world, agent, 1));
  drive(runAgent(world, vcpu));
  return vcpu.ns;
}

function runLocks(task: LockTask): number {
  const statistics = lockBenchStatistics(task.agent);
  attach({ memory: threadMemory(), statistics, stop: LOCK_BENCH_STOP, seed: 1 });
  return drive(runLockBatch(task));
}
