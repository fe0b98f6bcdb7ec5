/**
 * A scheduler that is asked as long as patience lasts. Then all agents take turns: whoever does not come to an end in a fair schedule goes
 * round in circles, which liveness.ts sees: then the execution is given up.
 */
import {
  ABANDON,
  type ExecutionResult,
  type ExecutionView,
  type Pending,
  type Scheduler,
} from '../engine/execution.ts';
import { RoundRobin } from './round-robin.ts';

/** Steps by turns after which loops are looked for; then after twice as many, and so on. */
const FIRST_LOOK = 16;

/** An execution where patience ended: what the scheduler knows of it. */
interface Cut {
  readonly view: ExecutionView;
  readonly result: ExecutionResult;
  readonly words: Int32Array;
}

export class Patience implements Scheduler {
  /** Null as long as patience lasts. */
  cut: Cut | null = null;
  readonly #scheduler: Scheduler;
  readonly #words: Int32Array;
  readonly #steps: number;
  readonly #isLooping: (view: ExecutionView) => boolean;
  /** When to look next. */
  #look: number;
  readonly #fair = new RoundRobin();

  /** `steps`: of an execution on the memory `words` by `scheduler`, at most. */
  constructor(
    scheduler: Scheduler,
    words: Int32Array,
    steps: number,
    isLooping: (view: ExecutionView) => boolean,
  ) {
    this.#isLooping = isLooping;
    this.#look = steps + FIRST_LOOK;
    this.#scheduler = scheduler;
    this.#words = words;
    this.#steps = steps;
  }

  next(view: ExecutionView): number {
    if (view.steps < this.#steps) return this.#scheduler.next(view);
    this.cut ??= {
      view: copyOf(view),
      result: endlessAfter(view.steps),
      words: this.#words.slice(),
    };
    if (view.steps >= this.#look) {
      this.#look += this.#look - this.#steps;
      if (this.#isLooping(view)) return ABANDON;
    }
    return this.#fair.next(view);
  }

  /** How an execution ended: one that was given up here has no end. */
  ended(result: ExecutionResult): ExecutionResult {
    const isGivenUp = this.cut !== null && result.outcome === 'abandoned';
    return isGivenUp ? endlessAfter(result.steps) : result;
  }

  choose(n: number): number {
    return (this.cut === null ? this.#scheduler : this.#fair).choose(n);
  }
}

function endlessAfter(steps: number): ExecutionResult {
  return { outcome: 'stepsExceeded', steps, detail: `no end after ${steps} steps` };
}

function copyOf(view: ExecutionView): ExecutionView {
  const { runnable, current, steps } = view;
  const pending = new Map<number, Pending>();
  for (const agent of runnable) {
    const { kind, at, a, b, busy } = view.pending(agent);
    pending.set(agent, { kind, at, a, b, busy });
  }
  // Of agents that sleep it is the same later: they do not go on before somebody else does.
  return {
    runnable: [...runnable],
    current,
    steps,
    pending: (agent) => pending.get(agent) ?? view.pending(agent),
  };
}
