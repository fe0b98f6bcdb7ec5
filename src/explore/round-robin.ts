/** Lets agents run in turn, a fixed number of steps each: the fair baseline. */
import type { ExecutionView, Scheduler } from '../engine/execution.ts';

export class RoundRobin implements Scheduler {
  readonly #quantum: number;
  #left = 0;
  #choice = 0;

  /** `quantum`: steps of a turn, at least 1. */
  constructor(quantum = 1) {
    this.#quantum = quantum;
  }

  next(view: ExecutionView): number {
    const { runnable, current } = view;
    if (this.#left > 0 && runnable.includes(current)) {
      this.#left--;
      return current;
    }
    this.#left = this.#quantum - 1;
    return runnable.find((agent) => agent > current) ?? (runnable[0] as number);
  }

  /** Counts up: every alternative is taken in turn. */
  choose(n: number): number {
    return this.#choice++ % n;
  }
}
