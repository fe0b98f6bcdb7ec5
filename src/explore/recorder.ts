/** A scheduler that asks another one and keeps what it answered, and the steps that came of it. */
import { ABANDON, type ExecutionView, type Scheduler } from '../engine/execution.ts';
import { stepOf, type Step } from './step.ts';
import { isPreemption } from './waits.ts';

export class Recorder implements Scheduler {
  readonly agents: number[] = [];
  readonly choices: number[] = [];
  readonly steps: Step[] = [];
  /** Switches away from an agent that could have gone on. */
  preemptions = 0;
  readonly #scheduler: Scheduler;
  readonly #words: Int32Array;
  readonly #keepsSteps: boolean;

  /** `words`: the memory that the agents run on; `keepsSteps`: not only the schedule. */
  constructor(scheduler: Scheduler, words: Int32Array, keepsSteps = true) {
    this.#keepsSteps = keepsSteps;
    this.#scheduler = scheduler;
    this.#words = words;
  }

  next(view: ExecutionView): number {
    const agent = this.#scheduler.next(view);
    if (agent === ABANDON) return agent;
    if (isPreemption(agent, view, this.#words)) this.preemptions++;
    this.agents.push(agent);
    if (this.#keepsSteps) this.steps.push(stepOf(agent, view.pending(agent), this.#words, 0));
    return agent;
  }

  choose(n: number): number {
    const choice = this.#scheduler.choose(n);
    this.choices.push(choice);
    const step = this.steps.at(-1);
    if (step !== undefined) step.choice = choice;
    return choice;
  }
}
