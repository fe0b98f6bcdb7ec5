/**
 * Depth-first search over interleavings: executions that begin alike and differ in one decision at a time. Which agents a decision is
 * between is left to the strategies built on this. A wait is a step once its word differs, as in dpor.ts.
 */
import { EventKind } from '../engine/events.ts';
import type { ExecutionView } from '../engine/execution.ts';
import { stepOf } from './step.ts';
import type { Ended, Strategy } from './strategy.ts';
import type { Subject } from './subject.ts';
import { Readiness, sleeperBefore } from './waits.ts';

/** An agent that may take the next step, and what `choose` gives if that is its step. */
interface Option {
  readonly agent: number;
  readonly choice: number;
}

interface Decision {
  readonly options: readonly Option[];
  taken: number;
}

export abstract class DepthFirst implements Strategy {
  abstract readonly bound: string;
  /** Of this execution so far. */
  protected preemptions = 0;
  readonly #words: Int32Array;
  readonly #readiness: Readiness;
  readonly #decisions: Decision[] = [];
  #depth = 0;
  #choice = 0;

  constructor(subject: Pick<Subject, 'words' | 'locks'>) {
    this.#words = subject.words;
    this.#readiness = new Readiness(subject);
  }

  begin(last: Ended | null): boolean {
    this.#depth = 0;
    this.preemptions = 0;
    return last === null || this.#advance();
  }

  next(view: ExecutionView): number {
    const { options, taken } = (this.#decisions[this.#depth] ??= this.#decide(view));
    const { agent, choice } = options[taken] as Option;
    const step = stepOf(agent, view.pending(agent), this.#words, choice);
    const sleeper = sleeperBefore(step, view);
    if (sleeper !== undefined) return sleeper;
    this.#depth++;
    this.#choice = choice;
    if (this.#readiness.isPreemption(agent, view)) this.preemptions++;
    return agent;
  }

  choose(): number {
    return this.#choice;
  }

  /** Which of the agents that can take a step may, in the order in which they are tried; not none. */
  protected abstract candidates(enabled: readonly number[], view: ExecutionView): readonly number[];

  #advance(): boolean {
    for (;;) {
      const decision = this.#decisions.at(-1);
      if (decision === undefined) return false;
      if (++decision.taken < decision.options.length) return true;
      this.#decisions.pop();
    }
  }

  /** Who waits takes a step only when nobody else can: the engine sees the deadlock. */
  #decide(view: ExecutionView): Decision {
    const enabled = view.runnable.filter((agent) => !this.#readiness.isBlocked(agent, view));
    const agents = enabled.length > 0 ? this.candidates(enabled, view) : view.runnable.slice(0, 1);
    const options = agents.flatMap((agent) => {
      const { kind, a } = view.pending(agent);
      const choices = kind === EventKind.choose ? a : 1;
      return Array.from({ length: choices }, (_, choice) => ({ agent, choice }));
    });
    return { options, taken: 0 };
  }
}
