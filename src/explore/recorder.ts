/** A scheduler that asks another one and keeps what it answered, and the steps that came of it. */
import { ABANDON, type ExecutionView, type Scheduler } from '../engine/execution.ts';
import { Step, stepOf } from './step.ts';
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
  /** Steps of the execution before. */
  readonly #known: readonly Step[];
  /** Whether this one has been the same so far. */
  #isSame = true;

  /**
   * `words`: the memory that the agents run on; `keepsSteps`: not only the schedule; `known`: steps of another execution of the program, of
   * which the beginning that is shared is kept as it is.
   */
  constructor(
    scheduler: Scheduler,
    words: Int32Array,
    keepsSteps = true,
    known: readonly Step[] = [],
  ) {
    this.#keepsSteps = keepsSteps;
    this.#scheduler = scheduler;
    this.#words = words;
    this.#known = known;
  }

  next(view: ExecutionView): number {
    const agent = this.#scheduler.next(view);
    if (agent === ABANDON) return agent;
    if (isPreemption(agent, view, this.#words)) this.preemptions++;
    this.agents.push(agent);
    if (this.#keepsSteps) this.steps.push(this.#stepOf(agent, view));
    return agent;
  }

  choose(n: number): number {
    const choice = this.#scheduler.choose(n);
    this.choices.push(choice);
    const step = this.steps.at(-1);
    if (step !== undefined && step.choice !== choice) {
      this.steps[this.steps.length - 1] = new Step(step.agent, step, step.lo, step.hi, choice);
      this.#isSame = false;
    }
    return choice;
  }

  #stepOf(agent: number, view: ExecutionView): Step {
    const known = this.#known[this.steps.length];
    if (this.#isSame && known?.agent === agent) return known;
    this.#isSame = false;
    return stepOf(agent, view.pending(agent), this.#words, 0);
  }
}
