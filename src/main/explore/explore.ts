/** `faultline explore`: a strategy on a workload until it comes to its end or a budget is spent. */
import { Explorer, type Failure, type Stopped } from '../../explore/explorer.ts';
import { minimise } from '../../explore/minimise.ts';
import { formatSchedule } from '../../explore/schedule.ts';
import { environment } from '../environment.ts';
import type { ExploreResult, ExploreViolation } from '../result.ts';
import type { Output } from '../run-options.ts';
import { isExhaustive, isRandom, strategyOf, type Budget, type ExploreOptions } from './options.ts';
import type { Target } from './target.ts';

/** Steps after which one execution counts as endless: a verdict. */
export const STEPS_OF_ONE_MAX = 1_000_000;
/** What making one schedule simpler may spend. */
const MINIMISE = { schedules: 1000, stepsOfOne: STEPS_OF_ONE_MAX };
/** Milliseconds between two looks at the world outside. */
const TURN_MS = 50;
const MIB = 2 ** 20;

type End = Stopped | 'seconds' | 'memory';

export async function exploreTarget(
  target: Target,
  options: ExploreOptions,
  io: Output,
): Promise<ExploreResult> {
  const before = environment();
  const { seed } = options;
  const subject = target.subjectOf(seed);
  const strategy = strategyOf(options, subject);
  const explorer = new Explorer(subject, strategy, { ...options, stepsOfOne: STEPS_OF_ONE_MAX });
  const since = performance.now();
  const stopped = await runOut(explorer, options, io);
  const isWhole = stopped === 'exhausted' && explorer.endless === 0;
  return {
    schema: 'faultline.explore/1',
    ok: explorer.failures.size === 0,
    workload: target.name,
    kvm: target.kvm,
    vcpus: target.vcpus,
    seed,
    strategy: options.strategy,
    bound: strategy.bound,
    exhaustive: isWhole && isExhaustive(options.strategy),
    stopped,
    schedules: explorer.schedules,
    abandoned: explorer.abandoned,
    traces: explorer.traces.size,
    unseen: isRandom(options.strategy) ? explorer.unseen : null,
    finalStates: explorer.finalStates.size,
    steps: explorer.steps,
    preemptions: explorer.preemptions,
    seconds: (performance.now() - since) / 1000,
    environment: before,
    violations: [...explorer.failures.values()].map((failure) =>
      violationOf(minimise(subject, failure, MINIMISE), target.hash, seed),
    ),
  };
}

/** Makes executions until there is nothing left or to be spent. */
async function runOut(explorer: Explorer, budget: Budget, io: Output): Promise<End> {
  const endMs = performance.now() + budget.seconds * 1000;
  for (;;) {
    const turnMs = Math.min(performance.now() + TURN_MS, endMs);
    do {
      const stopped = explorer.advance();
      if (stopped !== null) return stopped;
    } while (performance.now() < turnMs);
    if (performance.now() >= endMs) return 'seconds';
    if (process.memoryUsage().heapUsed > budget.memory * MIB) return 'memory';
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    io.signal?.throwIfAborted();
  }
}

/** A failure with the schedule that shows it again. */
export function violationOf(failure: Failure, scenario: string, seed: number): ExploreViolation {
  const { verdict, message, schedule, preemptions, times } = failure;
  return {
    verdict,
    message,
    schedule: formatSchedule({ scenario, seed, ...schedule }),
    steps: schedule.agents.length,
    preemptions,
    times,
  };
}
