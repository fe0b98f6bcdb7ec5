/** One execution as a schedule has it; then it ends, or goes on as another scheduler decides. */
import { ABANDON, type ExecutionView, type Scheduler } from '../engine/execution.ts';
import type { Answers } from './schedule.ts';
import { StrategyError, type Ended, type Strategy } from './strategy.ts';

/** The schedule asks for what the program cannot do: it is of another one. */
export class ReplayError extends StrategyError {
  override readonly name = 'ReplayError';
}

export class Replay implements Strategy {
  readonly bound = 'one schedule';
  readonly endsAnywhere = true;
  readonly #schedule: Answers;
  readonly #after: Scheduler | null;
  #step = 0;
  #choice = 0;

  constructor(schedule: Answers, after: Scheduler | null = null) {
    this.#schedule = schedule;
    this.#after = after;
  }

  begin(last: Ended | null): boolean {
    return last === null;
  }

  next(view: ExecutionView): number {
    const agent = this.#schedule.agents[this.#step++];
    if (agent === undefined) return this.#after?.next(view) ?? ABANDON;
    if (!view.runnable.includes(agent)) {
      throw new ReplayError(`step ${this.#step}: agent ${agent} cannot run`);
    }
    return agent;
  }

  choose(n: number): number {
    const choice = this.#schedule.choices[this.#choice++];
    if (choice === undefined && this.#after !== null) return this.#after.choose(n);
    if (choice === undefined || choice >= n) {
      throw new ReplayError(`step ${this.#step}: the schedule has no choice below ${n}`);
    }
    return choice;
  }
}
