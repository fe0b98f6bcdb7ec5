/**
 * Makes a failing schedule easier to read: fewer preemptions, then fewer steps, and still the same verdict. Runs of steps are left out, many
 * at once and then fewer, and two runs of an agent made one (delta debugging: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002); who was left
 * out runs later, when nobody is preempted any more.
 *
 * It does not find the smallest schedule there is, only one that none of these changes makes smaller.
 */
import { Explorer } from './explorer.ts';
import { isSimpler, type Failure } from './failure.ts';
import { Guided } from './guided.ts';
import { runsOf, type Run } from './runs.ts';
import type { Subject } from './subject.ts';

/** What it may spend. */
export interface MinimiseLimits {
  /** Executions. */
  readonly schedules: number;
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

  constructor(subject: Subject, failure: Failure, limits: MinimiseLimits) {
    this.#subject = subject;
    this.#best = failure;
    this.#limits = limits;
  }

  run(): Failure {
    do {
      let chunk = this.#runs().length;
      while (chunk >= 1) {
        const isBetter = this.#leaveOut(chunk);
        chunk = isBetter ? Math.min(chunk, this.#runs().length) : Math.floor(chunk / 2);
      }
    } while (this.#join());
    return this.#best;
  }

  /** Tries to do without each `chunk` runs in a row; whether one of them could be left out. */
  #leaveOut(chunk: number): boolean {
    const runs = this.#runs();
    for (let from = 0; from < runs.length; from += chunk) {
      if (this.#try(runs.toSpliced(from, chunk))) return true;
    }
    return false;
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
    if (this.#spent >= this.#limits.schedules) return false;
    this.#spent++;
    const { schedule, verdict, times } = this.#best;
    const guided = new Guided(this.#subject, runs, schedule.choices);
    const { stepsOfOne } = this.#limits;
    const limits = { schedules: 1, steps: Number.POSITIVE_INFINITY, stepsOfOne };
    const explorer = new Explorer(this.#subject, guided, limits);
    explorer.advance();
    const found = explorer.failures.get(verdict);
    if (found === undefined || !isSimpler(found, this.#best)) return false;
    this.#best = { ...found, times };
    return true;
  }

  #runs(): Run[] {
    return runsOf(this.#best.schedule.agents);
  }
}
