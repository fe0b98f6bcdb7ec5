/** Picks among all runnable agents with equal probability at each step: a seed is a schedule. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { ExecutionView, Scheduler } from '../engine/execution.ts';
import { scattered } from '../engine/splitmix.ts';

export class RandomScheduler implements Scheduler {
  readonly #random: RandomGenerator;

  /** `seed`: a 32-bit integer. */
  constructor(seed: number) {
    this.#random = xoroshiro128plus(scattered(seed));
  }

  next(view: ExecutionView): number {
    const { runnable } = view;
    if (runnable.length === 1) return runnable[0] as number;
    return runnable[uniformInt(this.#random, 0, runnable.length - 1)] as number;
  }

  choose(n: number): number {
    return uniformInt(this.#random, 0, n - 1);
  }
}
