/** What `faultline explore` and `faultline replay` are asked for. */
import type { Strategy } from '../../explore/strategy.ts';
import type { Subject } from '../../explore/subject.ts';
import { BruteForce } from '../../explore/brute-force.ts';
import { Dpor } from '../../explore/dpor.ts';
import { WHOLE } from '../../explore/prefix.ts';
import { Pct } from '../../explore/pct.ts';
import { PreemptionBounded } from '../../explore/preemption-bounded.ts';
import { RandomWalk } from '../../explore/random-walk.ts';
import type { Overrides } from './target.ts';

export type StrategyName = 'dpor' | 'pct' | 'random' | 'bounded' | 'brute-force';

/** What an exploration may spend; the first that is spent ends it. */
export interface Budget {
  /** Executions. */
  readonly schedules: number;
  /** Steps of all executions together. */
  readonly steps: number;
  readonly seconds: number;
  /** Of the JavaScript heap, MiB. */
  readonly memory: number;
}

export interface ExploreOptions extends Overrides, Budget {
  readonly strategy: StrategyName;
  readonly seed: number;
  /** Of `pct`. */
  readonly depth: number;
  /** Of `bounded`. */
  readonly preemptions: number;
}

/** Whether a strategy that comes to its end has seen every interleaving, or one of each trace. */
export function isExhaustive(name: StrategyName): boolean {
  return name === 'dpor' || name === 'brute-force';
}

/** Whether what was seen tells how much was not: executions are drawn at random. */
export function isRandom(name: StrategyName): boolean {
  return name === 'random' || name === 'pct';
}

export function strategyOf(options: ExploreOptions, subject: Subject): Strategy {
  const { seed, depth, preemptions } = options;
  const strategies: Readonly<Record<StrategyName, () => Strategy>> = {
    dpor: () => new Dpor(subject, WHOLE),
    pct: () => new Pct(subject, seed, depth),
    random: () => new RandomWalk(seed),
    bounded: () => new PreemptionBounded(subject, preemptions),
    'brute-force': () => new BruteForce(subject),
  };
  return strategies[options.strategy]();
}
