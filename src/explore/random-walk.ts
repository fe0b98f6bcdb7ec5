/** One random schedule after the other, of neighbouring seeds. */
import type { ExecutionView } from '../engine/execution.ts';
import { RandomScheduler } from './random.ts';
import type { Strategy } from './strategy.ts';

export class RandomWalk implements Strategy {
  readonly bound = 'nothing is promised';
  #seed: number;
  #scheduler: RandomScheduler;

  /** `seed`: a 32-bit integer, of the first execution. */
  constructor(seed: number) {
    this.#seed = seed;
    this.#scheduler = new RandomScheduler(seed);
  }

  begin(): boolean {
    this.#scheduler = new RandomScheduler(this.#seed);
    this.#seed = (this.#seed + 1) | 0;
    return true;
  }

  next(view: ExecutionView): number {
    return this.#scheduler.next(view);
  }

  choose(n: number): number {
    return this.#scheduler.choose(n);
  }
}
