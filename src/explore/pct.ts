/**
 * Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi and Nagarakatte, "A randomized scheduler with probabilistic guarantees
 * of finding bugs", 2010): random priorities, and d - 1 steps at random places at which whoever runs falls behind all others. A bug of
 * depth d, one that d ordered steps bring out, shows in each execution with a probability of at least 1 / (n k^(d-1)), for n agents and
 * k steps.
 *
 * Deviation: k is the longest execution so far, and the first execution only measures it; where it is an underestimate, so is the share
 * of bugs late in an execution.
 */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { ExecutionView } from '../engine/execution.ts';
import { scattered } from '../engine/splitmix.ts';
import type { Ended, Strategy } from './strategy.ts';
import type { Subject } from './subject.ts';

export class Pct implements Strategy {
  readonly #agents: number;
  readonly #depth: number;
  #seed: number;
  #random: RandomGenerator;
  /** k. */
  #stepsMax = 0;
  /** Of each agent; the greatest that can run runs. Those at the beginning are at least the depth, later ones below. */
  readonly #priorities: number[];
  /** Steps before which a priority falls, ascending. */
  readonly #changes: number[] = [];
  #fallen = 0;

  /** `seed`: a 32-bit integer, of the first execution; `depth`: at least 1. */
  constructor({ agents }: Pick<Subject, 'agents'>, seed: number, depth: number) {
    this.#agents = agents;
    this.#depth = depth;
    this.#seed = seed;
    this.#random = xoroshiro128plus(seed);
    this.#priorities = Array.from({ length: agents }, (_, agent) => agent);
  }

  get bound(): string {
    const steps = this.#depth === 1 ? '' : ` ${this.#stepsMax}^${this.#depth - 1}`;
    return `a bug of depth ${this.#depth} in each schedule with a probability of at least 1 / (${this.#agents}${steps})`;
  }

  begin(last: Ended | null): boolean {
    this.#stepsMax = Math.max(this.#stepsMax, last?.result.steps ?? 0);
    this.#random = xoroshiro128plus(scattered(this.#seed));
    this.#seed = (this.#seed + 1) | 0;
    this.#shuffle();
    this.#fallen = 0;
    this.#changes.length = 0;
    for (let i = 1; i < this.#depth && this.#stepsMax > 0; i++) {
      this.#changes.push(uniformInt(this.#random, 0, this.#stepsMax - 1));
    }
    this.#changes.sort((a, b) => a - b);
    return true;
  }

  next(view: ExecutionView): number {
    while (view.steps === this.#changes[this.#fallen]) {
      this.#priorities[this.#first(view)] = this.#depth - 2 - this.#fallen;
      this.#fallen++;
    }
    return this.#first(view);
  }

  choose(n: number): number {
    return uniformInt(this.#random, 0, n - 1);
  }

  #first({ runnable }: ExecutionView): number {
    let first = runnable[0] as number;
    for (const agent of runnable) {
      if ((this.#priorities[agent] as number) > (this.#priorities[first] as number)) first = agent;
    }
    return first;
  }

  /** Priorities from the depth on, in a random order (Fisher and Yates). */
  #shuffle(): void {
    for (let agent = 0; agent < this.#agents; agent++) {
      const other = uniformInt(this.#random, 0, agent);
      this.#priorities[agent] = this.#priorities[other] as number;
      this.#priorities[other] = this.#depth + agent;
    }
  }
}
