/** A scheduler that asks another one and keeps what it answered, and the steps that came of it. */
import { ABANDON, type ExecutionView, type Scheduler } from '../engine/execution.ts';
import type { Answers } from './schedule.ts';
import { Step, stepOf } from './step.ts';
import { Readiness } from './waits.ts';

export class Recorder implements Scheduler {
  readonly agents: number[] = [];
  readonly choices: number[] = [];
  /** The step that each choice belongs to. */
  readonly #chosen: number[] = [];
  readonly steps: Step[] = [];
  /** Steps, from 0, at which an agent was switched away from that could have gone on. */
  readonly preempting: number[] = [];
  readonly #scheduler: Scheduler;
  readonly #words: Int32Array;
  readonly #readiness: Readiness;
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
    this.#readiness = new Readiness({ words, locks: 'steps' });
    this.#known = known;
  }

  get preemptions(): number {
    return this.preempting.length;
  }

  next(view: ExecutionView): number {
    const agent = this.#scheduler.next(view);
    if (agent === ABANDON) return agent;
    if (this.#readiness.isPreemption(agent, view)) this.preempting.push(this.agents.length);
    this.agents.push(agent);
    if (this.#keepsSteps) this.steps.push(this.#stepOf(agent, view));
    return agent;
  }

  choose(n: number): number {
    const choice = this.#scheduler.choose(n);
    this.choices.push(choice);
    this.#chosen.push(this.agents.length);
    const step = this.steps.at(-1);
    if (step !== undefined && step.choice !== choice) {
      this.steps[this.steps.length - 1] = new Step(step.agent, step, step.lo, step.hi, choice);
      this.#isSame = false;
    }
    return choice;
  }

  /** The schedule of the first `steps` steps, and its preemptions. */
  beginning(steps: number): { readonly schedule: Answers; readonly preemptions: number } {
    const choices = this.choices.filter((_, i) => (this.#chosen[i] as number) <= steps);
    return {
      schedule: { agents: this.agents.slice(0, steps), choices },
      preemptions: this.preempting.filter((step) => step < steps).length,
    };
  }

  #stepOf(agent: number, view: ExecutionView): Step {
    const known = this.#known[this.steps.length];
    if (this.#isSame && known?.agent === agent) return known;
    this.#isSame = false;
    return stepOf(agent, view.pending(agent), this.#words, 0);
  }
}
