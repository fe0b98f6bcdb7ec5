/**
 * `bench explore`: schedules and steps in a second of processor time, by strategy, of the install litmus in three shapes and of one workload.
 *
 * Each is measured with the schedule recorded, and besides: without (`-bare`: no judgement either), with all checkers (`-checked`), with
 * traces told apart (`-traced`). The litmus has no locks and no tables of descriptors: its events pass the checkers of those, which have nothing to
 * follow there; their work shows in the workload.
 *
 * Another tool's figures for such shapes, on a similar machine and without checkers: shuttle, 60,600, 21,000 and 3,370 schedules in a second.
 */
import { explore } from '#port';
import { Execution } from '../../engine/execution.ts';
import { DEFAULT_PROFILE } from '../../kvm/profile.ts';
import { Explorer } from '../../explore/explorer.ts';
import type { Ended, Strategy } from '../../explore/strategy.ts';
import type { Subject } from '../../explore/subject.ts';
import type { BenchSize } from './bench.ts';
import { EXPLORE_SHAPES, type ExploreShape } from './explore-shapes.ts';
import { strategyOf, type StrategyName } from '../explore/options.ts';
import { undivided } from '../explore/parts.ts';
import type { BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

const STRATEGIES: readonly StrategyName[] = ['random', 'pct', 'dpor'];
const OPTIONS = { seed: 1, depth: 3, preemptions: 2 } as const;
const STEPS_MAX = 1e6;

/** What is done beside executing; in the names of results. */
const MODES = ['-bare', '', '-checked', '-traced'] as const;
type Mode = (typeof MODES)[number];

/** What one batch did. */
interface Counts {
  readonly schedules: number;
  readonly steps: number;
}

export async function benchExplore(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const shape of EXPLORE_SHAPES) {
    for (const strategy of STRATEGIES) {
      for (const mode of MODES) {
        const name = `explore/${strategy}-${shape.name}${mode}`;
        if (io.isTTY) io.stderr.write(`${name}\n`);
        results.push(...measure(size, name, shape, strategy, mode));
      }
    }
  }
  return Promise.resolve(results);
}

function measure(
  { warmups, batches, explorations }: BenchSize,
  name: string,
  shape: ExploreShape,
  strategy: StrategyName,
  mode: Mode,
): BenchResult[] {
  const subject = mode === '-checked' ? shape.checked() : shape.plain();
  const rates: Counts[] = [];
  for (let batch = -warmups; batch < batches; batch++) {
    const rate = batchRate(subject, shape.schedules * explorations, strategy, mode);
    if (batch >= 0) rates.push(rate);
  }
  return (['schedules', 'steps'] as const).map((what): BenchResult => {
    const sorted = rates.map((rate) => rate[what]).toSorted((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
    return {
      name: what === 'schedules' ? name : `${name}-steps`,
      kvm: DEFAULT_PROFILE,
      vcpus: shape.vcpus,
      port: 'explore',
      unit: `${what}/CPU-s`,
      p50: at(0.5),
      p99: at(0.01),
      min: at(0),
      ratioTo: {},
    };
  });
}

/** In a second of processor time. What is small is explored to its end again and again. */
function batchRate(subject: Subject, schedulesMax: number, name: StrategyName, mode: Mode): Counts {
  const since = process.cpuUsage();
  let schedules = 0;
  let steps = 0;
  while (schedules < schedulesMax) {
    const strategy = strategyOf({ ...OPTIONS, strategy: name }, subject, undivided(OPTIONS));
    const done = RUNS[mode](subject, strategy, Math.ceil(schedulesMax - schedules));
    schedules += done.schedules;
    steps += done.steps;
  }
  const { user, system } = process.cpuUsage(since);
  const cpuSeconds = (user + system) / 1e6;
  return { schedules: schedules / cpuSeconds, steps: steps / cpuSeconds };
}

type Run = (subject: Subject, strategy: Strategy, schedulesMax: number) => Counts;

const RUNS: Readonly<Record<Mode, Run>> = {
  '-bare': runBare,
  '': runUntraced,
  '-checked': runUntraced,
  '-traced': (subject, strategy, schedules) =>
    runOut(new Explorer(subject, strategy, limitsOf(schedules))),
};

/** Nothing is recorded, judged or counted but the steps. */
function runBare(subject: Subject, strategy: Strategy, schedulesMax: number): Counts {
  let last: Ended | null = null;
  let schedules = 0;
  let steps = 0;
  for (; schedules < schedulesMax && strategy.begin(last); schedules++) {
    const agents = subject.begin();
    const view = new Execution({ agents, scheduler: strategy, stepsMax: STEPS_MAX });
    last = { result: explore(view), view };
    steps += last.result.steps;
  }
  return { schedules, steps };
}

function runUntraced(subject: Subject, strategy: Strategy, schedules: number): Counts {
  const explorer = new Explorer(subject, strategy, limitsOf(schedules));
  explorer.ignoreTraces();
  return runOut(explorer);
}

function runOut(explorer: Explorer): Counts {
  while (explorer.advance() === null);
  return explorer;
}

function limitsOf(schedules: number): ConstructorParameters<typeof Explorer>[2] {
  return { schedules, steps: Number.POSITIVE_INFINITY, stepsOfOne: STEPS_MAX };
}
