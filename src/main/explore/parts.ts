/**
 * An exploration in parts, each of which can be explored without the others: prefixes of an exhaustive one, ranges of seeds of a random
 * one. They do not depend on who explores them, nor how many.
 */
import { WHOLE, type Prefix } from '../../explore/prefix.ts';
import { prefixesOf } from '../../explore/splitter.ts';
import type { Subject } from '../../explore/subject.ts';
import { isRandom, type Budget, type StrategyName, type StrategyOptions } from './options.ts';

/** Prefixes, at least, if there are as many: enough that the longest does not keep all the others waiting. */
const PREFIXES_MIN = 64;
/** Seeds of one part. */
const SEEDS = 500;

export interface Part {
  readonly prefix: Prefix;
  /** Of the first execution. */
  readonly seed: number;
  /** Executions of which it consists; infinite where the strategy knows its end. */
  readonly schedules: number;
}

export interface Parts {
  /** May be infinite. */
  readonly count: number;
  at(index: number): Part;
}

/** Whether there is more than one part. */
export function isDivisible(strategy: StrategyName): boolean {
  return isRandom(strategy) || strategy === 'dpor';
}

export function undivided({ seed }: Pick<StrategyOptions, 'seed'>): Part {
  return { prefix: WHOLE, seed, schedules: Number.POSITIVE_INFINITY };
}

export function partsOf(options: StrategyOptions & Budget, subject: Subject): Parts {
  const whole = undivided(options);
  const { strategy, seed, schedules } = options;
  if (isRandom(strategy)) {
    return {
      count: Math.ceil(schedules / SEEDS),
      at: (index) => ({
        ...whole,
        seed: (seed + index * SEEDS) | 0,
        schedules: Math.min(SEEDS, schedules - index * SEEDS),
      }),
    };
  }
  const prefixes = strategy === 'dpor' ? prefixesOf(subject, PREFIXES_MIN) : [WHOLE];
  return {
    count: prefixes.length,
    at: (index) => ({ ...whole, prefix: prefixes[index] as Prefix }),
  };
}
