/**
 * `bench explore`: schedules and steps of the install litmus in a second of processor time, by strategy. With the schedule of each execution
 * recorded, and with its trace told apart besides. No checkers: there are none yet.
 */
import { DEFAULT_PROFILE } from '../kvm/profile.ts';
import { Explorer } from '../explore/explorer.ts';
import type { BenchSize } from './bench.ts';
import { InstallSubject } from './explore/install-subject.ts';
import { strategyOf, type StrategyName } from './explore/options.ts';
import { undivided } from './explore/parts.ts';
import type { BenchResult } from './result.ts';
import type { Output } from './run-options.ts';

/** Threads, faults of each, and the executions of a batch: a few tens of milliseconds. */
const SHAPES = [
  { threads: 2, faults: 1, schedules: 2000 },
  { threads: 4, faults: 4, schedules: 400 },
  { threads: 8, faults: 16, schedules: 50 },
] as const;
type Shape = (typeof SHAPES)[number];

const STRATEGIES: readonly StrategyName[] = ['random', 'pct', 'dpor'];
const UNLIMITED = Number.POSITIVE_INFINITY;
const OPTIONS = { seed: 1, depth: 3, preemptions: 2 } as const;

/** What one batch did in a second of processor time. */
interface Rates {
  readonly schedules: number;
  readonly steps: number;
}

export async function benchExplore(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const shape of SHAPES) {
    for (const strategy of STRATEGIES) {
      for (const isTraced of [false, true]) {
        if (io.isTTY) io.stderr.write(`${nameOf(shape, strategy, isTraced)}\n`);
        results.push(...measure(size, shape, strategy, isTraced));
      }
    }
  }
  return Promise.resolve(results);
}

function nameOf({ threads, faults }: Shape, strategy: StrategyName, isTraced: boolean): string {
  return `explore/${strategy}-${threads}x${faults}${isTraced ? '-traced' : ''}`;
}

function measure(
  size: BenchSize,
  shape: Shape,
  strategy: StrategyName,
  isTraced: boolean,
): BenchResult[] {
  const rates: Rates[] = [];
  for (let batch = -size.warmups; batch < size.batches; batch++) {
    const rate = runBatch(shape, strategy, isTraced);
    if (batch >= 0) rates.push(rate);
  }
  const name = nameOf(shape, strategy, isTraced);
  return (['schedules', 'steps'] as const).map((what): BenchResult => {
    const sorted = rates.map((rate) => rate[what]).toSorted((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
    return {
      name: what === 'schedules' ? name : `${name}-steps`,
      kvm: DEFAULT_PROFILE,
      vcpus: shape.threads,
      port: 'explore',
      unit: `${what}/CPU-s`,
      p50: at(0.5),
      p99: at(0.01),
      min: at(0),
      ratioTo: {},
    };
  });
}

/** A small shape is explored to its end again and again. */
function runBatch(shape: Shape, strategy: StrategyName, isTraced: boolean): Rates {
  const since = process.cpuUsage();
  let schedules = 0;
  let steps = 0;
  while (schedules < shape.schedules) {
    const subject = new InstallSubject(shape);
    const limits = { schedules: shape.schedules - schedules, steps: UNLIMITED, stepsOfOne: 1e6 };
    const explorer = new Explorer(
      subject,
      strategyOf({ ...OPTIONS, strategy }, subject, undivided(OPTIONS)),
      limits,
    );
    if (!isTraced) explorer.ignoreTraces();
    while (explorer.advance() === null);
    schedules += explorer.schedules;
    steps += explorer.steps;
  }
  const { user, system } = process.cpuUsage(since);
  const cpuSeconds = (user + system) / 1e6;
  return { schedules: schedules / cpuSeconds, steps: steps / cpuSeconds };
}
