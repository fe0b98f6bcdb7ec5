/**
 * Makes a failing program smaller: fewer operations, until no agent has one that can be left out, and still the same verdict. An agent
 * that has none left does nothing.
 *
 * Goals: the result fails, by the schedule that comes with it. Non-goals: the smallest program there is. Of each smaller one only a few
 * executions are made: the failing one as far as it goes, the same without the steps that are missing now, then random ones of as few preemptions.
 */
import { leaveOut } from './ddmin.ts';
import { Explorer } from './explorer.ts';
import type { Failure } from './failure.ts';
import { Guided } from './guided.ts';
import type { Divisible, Remainder, Program } from './remainder.ts';
import { Pct } from './pct.ts';
import { runsOf, type Run } from './runs.ts';
import type { Strategy } from './strategy.ts';
import type { Subject } from './subject.ts';

/** What it may spend. */
export interface ReduceLimits {
  /** Executions. */
  readonly schedules: number;
  /** Steps of all together, but for the last one. */
  readonly steps: number;
  /** Random executions of each smaller program. */
  readonly searches: number;
}

export interface Reduced {
  readonly failure: Failure;
  /** What is left of programs that are not whole. */
  readonly rests: readonly Remainder[];
}

/** A smaller program may wait for what is not there any more: it is given up after so many times the steps. */
const PATIENCE = 4;
const STEPS_MIN = 1000;
const SEED = 1;

/** An execution of `step-limit` is long: what fails after fewer steps says nothing about it, and it is left as it is. */
export function reduce(whole: Divisible<Subject>, failure: Failure, limits: ReduceLimits): Reduced {
  return failure.verdict === 'step-limit'
    ? { failure, rests: [] }
    : new Reducer(whole, failure, limits).run();
}

interface Operation {
  readonly program: Program;
  readonly index: number;
}

class Reducer {
  readonly #whole: Divisible<Subject>;
  readonly #limits: ReduceLimits;
  readonly #stepsOfOne: number;
  #failure: Failure;
  #left: readonly Operation[];
  #spent = 0;
  #steps = 0;

  constructor(whole: Divisible<Subject>, failure: Failure, limits: ReduceLimits) {
    this.#whole = whole;
    this.#limits = limits;
    this.#failure = failure;
    const { length } = failure.schedule.agents;
    // A loop shows once the agents take turns.
    this.#stepsOfOne = failure.verdict === 'livelock' ? length : STEPS_MIN + PATIENCE * length;
    this.#left = whole.programs
      .toSorted((one, other) => one.agent - other.agent || one.phase - other.phase)
      .flatMap((program) => program.operations.map((_, index) => ({ program, index })));
  }

  run(): Reduced {
    leaveOut(
      () => this.#left,
      (rest) => this.#works(rest),
    );
    return { failure: this.#failure, rests: this.#restsOf(this.#left) };
  }

  /** Whether the failure comes without the operations that are missing. */
  #works(rest: readonly Operation[]): boolean {
    if (this.#spent >= this.#limits.schedules || this.#steps >= this.#limits.steps) return false;
    const subject = this.#whole.subjectOf(this.#restsOf(rest));
    const found = this.#again(subject) ?? this.#anew(subject);
    if (found === null) return false;
    this.#failure = { ...found, times: this.#failure.times };
    this.#left = rest;
    return true;
  }

  /** By the same schedule, or by what it is without the steps that are missing. */
  #again(subject: Subject): Failure | null {
    const { agents, choices } = this.#failure.schedule;
    const runs = runsOf(agents);
    const same = new Guided(subject, runs, choices);
    return (
      this.#explored(subject, same, 1) ??
      this.#explored(subject, new Guided(subject, shortened(runs, agents, same.taken), choices), 1)
    );
  }

  #anew(subject: Subject): Failure | null {
    const pct = new Pct(subject, SEED, this.#failure.preemptions + 1);
    return this.#explored(subject, pct, this.#limits.searches);
  }

  #explored(subject: Subject, strategy: Strategy, schedules: number): Failure | null {
    const explorer = new Explorer(subject, strategy, {
      schedules: Math.min(schedules, this.#limits.schedules - this.#spent),
      steps: this.#limits.steps - this.#steps,
      stepsOfOne: this.#stepsOfOne,
    });
    let found: Failure | undefined;
    while (found === undefined && explorer.advance() === null)
      found = explorer.failures.get(this.#failure.verdict);
    this.#spent += explorer.schedules;
    this.#steps += explorer.steps;
    return found ?? null;
  }

  #restsOf(operations: readonly Operation[]): readonly Remainder[] {
    return this.#whole.programs
      .map((program): Remainder & Program => {
        const own = operations.filter((operation) => operation.program === program);
        return { ...program, kept: own.map(({ index }) => index) };
      })
      .filter(({ kept, operations: all }) => kept.length < all.length)
      .map(({ phase, agent, kept }) => ({ phase, agent, kept }));
  }
}

/** The runs, without so many steps of each agent at the beginning as it took fewer than it had to. */
function shortened(
  runs: readonly Run[],
  agents: readonly number[],
  taken: readonly number[],
): readonly Run[] {
  const missing = new Map<number, number>();
  for (const agent of agents) missing.set(agent, (missing.get(agent) ?? -(taken[agent] ?? 0)) + 1);
  return runs.flatMap(({ agent, steps }) => {
    const less = Math.min(steps, Math.max(0, missing.get(agent) ?? 0));
    missing.set(agent, (missing.get(agent) ?? 0) - less);
    return less === steps ? [] : [{ agent, steps: steps - less }];
  });
}
