/**
 * Makes a failing schedule easier to read: fewer preemptions, then fewer steps, and still the same verdict. Runs of steps are left out, and
 * two runs of an agent made one; who was left out runs later, when nobody is preempted any more.
 *
 * It does not find the smallest schedule there is, only one that none of these changes makes smaller.
 */
import { leaveOut } from './ddmin.ts';
import { Explorer } from './explorer.ts';
import { isSimpler, type Failure } from './failure.ts';
import { Guided } from './guided.ts';
import { runsOf, stepsIn, type Run } from './runs.ts';
import type { Subject } from './subject.ts';

/** What it may spend. */
export interface MinimiseLimits {
  /** Executions. */
  readonly schedules: number;
  /** Steps of all together, but for the last one. */
  readonly steps: number;
  /** Steps after which one counts as endless. */
  readonly stepsOfOne: number;
}

export function minimise(subject: Subject, failure: Failure, limits: MinimiseLimits): Failure {
  return new Minimiser(subject, failure, limits).run();
}

class Minimiser {
  readonly #subject: Subject;
  readonly #limits: MinimiseLimits;
  #best: Failure;
  #spent = 0;
  #steps = 0;

  constructor(subject: Subject, failure: Failure, limits: MinimiseLimits) {
    this.#subject = subject;
    this.#best = failure;
    this.#limits = limits;
  }

  run(): Failure {
    do {
      leaveOut(
        () => this.#runs(),
        (runs) => this.#try(runs),
      );
    } while (this.#join());
    return this.#best;
  }

  /** Tries to make one of two runs of an agent, in the place of the second or of the first; whether it could. */
  #join(): boolean {
    const runs = this.#runs();
    return runs.some(({ agent, steps }, first) => {
      const second = runs.findIndex((run, i) => i > first && run.agent === agent);
      if (second < 0) return false;
      const both = { agent, steps: steps + (runs[second] as Run).steps };
      return (
        this.#try(runs.with(second, both).toSpliced(first, 1)) ||
        this.#try(runs.with(first, both).toSpliced(second, 1))
      );
    });
  }

  #try(runs: readonly Run[]): boolean {
    const { schedules, steps, stepsOfOne } = this.#limits;
    if (this.#spent >= schedules || this.#steps >= steps) return false;
    this.#spent++;
    const { schedule, verdict, times } = this.#best;
    const guided = new Guided(this.#subject, runs, schedule.choices);
    // A loop shows once the agents take turns: that may begin at once.
    const patience = verdict === 'livelock' ? stepsIn(runs) : stepsOfOne;
    const limits = { schedules: 1, steps: Number.POSITIVE_INFINITY, stepsOfOne: patience };
    const explorer = new Explorer(this.#subject, guided, limits);
    explorer.advance();
    this.#steps += explorer.steps;
    const found = explorer.failures.get(verdict);
    if (found === undefined || !isSimpler(found, this.#best)) return false;
    this.#best = { ...found, times };
    return true;
  }

  #runs(): Run[] {
    return runsOf(this.#best.schedule.agents);
  }
}
