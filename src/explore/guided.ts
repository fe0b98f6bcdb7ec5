/**
 * A schedule as advice: agents take so many steps each, in turn, as far as they can; then nobody is preempted any more. Whatever the advice,
 * an execution comes of it: this is how a part of a schedule is tried.
 */
import type { ExecutionView } from '../engine/execution.ts';
import type { Run } from './runs.ts';
import type { Ended, Strategy } from './strategy.ts';
import type { Subject } from './subject.ts';
import { isBlocked } from './waits.ts';

export class Guided implements Strategy {
  readonly bound = 'one schedule';
  /** Steps of each agent so far. */
  readonly taken: number[];
  readonly #words: Int32Array;
  readonly #runs: readonly Run[];
  readonly #choices: readonly number[];
  #run = 0;
  #steps = 0;
  #choice = 0;

  constructor(
    { words, agents }: Pick<Subject, 'words' | 'agents'>,
    runs: readonly Run[],
    choices: readonly number[],
  ) {
    this.#words = words;
    this.taken = Array.from({ length: agents }, () => 0);
    this.#runs = runs;
    this.#choices = choices;
  }

  begin(last: Ended | null): boolean {
    return last === null;
  }

  next(view: ExecutionView): number {
    const agent = this.#advised(view);
    this.taken[agent] = (this.taken[agent] as number) + 1;
    return agent;
  }

  /** The first where the advice has none that is possible. */
  choose(n: number): number {
    const choice = this.#choices[this.#choice++] ?? 0;
    return choice < n ? choice : 0;
  }

  #advised(view: ExecutionView): number {
    for (; this.#run < this.#runs.length; this.#run++, this.#steps = 0) {
      const { agent, steps } = this.#runs[this.#run] as Run;
      // One that waits may be told to fall asleep.
      if (this.#steps >= steps || !view.runnable.includes(agent)) continue;
      this.#steps++;
      return agent;
    }
    const { current, runnable } = view;
    if (this.#canRun(current, view)) return current;
    return runnable.find((agent) => this.#canRun(agent, view)) ?? (runnable[0] as number);
  }

  #canRun(agent: number, view: ExecutionView): boolean {
    return view.runnable.includes(agent) && !isBlocked(view.pending(agent), this.#words);
  }
}
