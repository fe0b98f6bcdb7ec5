/** What `faultline explore` and `faultline replay` are asked for. */
import type { Strategy } from '../../explore/strategy.ts';
import type { Subject } from '../../explore/subject.ts';
import { BruteForce } from '../../explore/brute-force.ts';
import { Dpor } from '../../explore/dpor.ts';
import { Pct } from '../../explore/pct.ts';
import { PreemptionBounded } from '../../explore/preemption-bounded.ts';
import { RandomWalk } from '../../explore/random-walk.ts';
import type { Part } from './parts.ts';
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

/** What decides which executions are made. */
export interface StrategyOptions {
  readonly strategy: StrategyName;
  readonly seed: number;
  /** Of `pct`. */
  readonly depth: number;
  /** Of `bounded`. */
  readonly preemptions: number;
  /** Steps after which one execution counts as endless. */
  readonly longest: number;
}

/** Every `of`th part of an exploration, from part `index` on, counted from 1. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

export interface ExploreOptions extends Overrides, Budget, StrategyOptions {
  readonly workers: number;
  readonly shard: Shard;
  /** A file that keeps what is done, or null. */
  readonly checkpoint: string | null;
  /** Whether to go on from what the checkpoint has. */
  readonly resume: boolean;
}

/** Whether a strategy that comes to its end has seen every interleaving, or one of each trace. */
export function isExhaustive(name: StrategyName): boolean {
  return name === 'dpor' || name === 'brute-force';
}

/** Whether what was seen tells how much was not: executions are drawn at random. */
export function isRandom(name: StrategyName): boolean {
  return name === 'random' || name === 'pct';
}

/** The strategy for one part of an exploration. */
export function strategyOf(
  { strategy, depth, preemptions }: Omit<StrategyOptions, 'longest'>,
  subject: Subject,
  { prefix, seed }: Part,
): Strategy {
  const strategies: Readonly<Record<StrategyName, () => Strategy>> = {
    dpor: () => new Dpor(subject, prefix),
    pct: () => new Pct(subject, seed, depth),
    random: () => new RandomWalk(seed),
    bounded: () => new PreemptionBounded(subject, preemptions),
    'brute-force': () => new BruteForce(subject),
  };
  return strategies[strategy]();
}
