/**
 * Divides an exhaustive exploration: all beginnings of so many steps, each trace in exactly one of them (sleep sets: Godefroid,
 * "Partial-order methods for the verification of concurrent systems", 1996).
 *
 * What comes of it depends on the program alone, so that any number of explorers share the same prefixes. A prefix may turn out to hold
 * no trace: all that begins like it is explored elsewhere.
 */
import { explore } from '#port';
import { EventKind } from '../engine/events.ts';
import { ABANDON, Execution, type ExecutionView, type Scheduler } from '../engine/execution.ts';
import { WHOLE, isSameTurn, type Prefix } from './prefix.ts';
import { areInConflict, stepOf, type Step } from './step.ts';
import type { Subject } from './subject.ts';
import { Readiness, sleeperBefore } from './waits.ts';

/** Deeper than this a program is not divided. */
const DEPTH_MAX = 40;

/** Beginnings of the least depth at which there are `countMin`, or as many as there are. */
export function prefixesOf(subject: Subject, countMin: number): readonly Prefix[] {
  let prefixes: readonly Prefix[] = [WHOLE];
  for (let depth = 1; depth <= DEPTH_MAX && prefixes.length < countMin; depth++) {
    const splitter = new Splitter(subject, depth);
    prefixes = splitter.run();
    if (splitter.isWhole) break;
  }
  return prefixes;
}

interface State {
  readonly sleep: Step[];
  /** Steps that are left to be tried. */
  readonly left: Step[];
  step: Step;
}

class Splitter implements Scheduler {
  /** Whether no execution goes on after its prefix. */
  isWhole = true;
  readonly #subject: Subject;
  readonly #readiness: Readiness;
  readonly #depthMax: number;
  readonly #states: State[] = [];
  readonly #prefixes: Prefix[] = [];
  #depth = 0;
  /** What the state after the last one begins with. */
  #sleep: readonly Step[] = [];

  constructor(subject: Subject, depthMax: number) {
    this.#subject = subject;
    this.#readiness = new Readiness(subject);
    this.#depthMax = depthMax;
  }

  run(): readonly Prefix[] {
    do {
      this.#depth = 0;
      this.#sleep = [];
      const agents = this.#subject.begin();
      const { outcome } = explore(
        new Execution({ agents, scheduler: this, stepsMax: Number.POSITIVE_INFINITY }),
      );
      if (outcome === 'abandoned') continue;
      const last = this.#states.at(-1)?.step;
      const isEnd = outcome === 'threw' || (this.#subject.hasDaemons && outcome === 'completed');
      if (last !== undefined && isEnd) last.isLast = true;
      this.#keep();
    } while (this.#backtrack());
    return this.#prefixes;
  }

  next(view: ExecutionView): number {
    if (this.#depth === this.#depthMax) return this.#cut();
    if (this.#depth === this.#states.length && !this.#extend(view)) return this.#end(view);
    const { sleep, step } = this.#states[this.#depth] as State;
    const sleeper = sleeperBefore(step, view);
    if (sleeper !== undefined) return sleeper;
    this.#sleep = sleep.filter((other) => !areInConflict(other, step));
    this.#depth++;
    return step.agent;
  }

  choose(): number {
    return (this.#states[this.#depth - 1] as State).step.choice;
  }

  #extend(view: ExecutionView): boolean {
    const left = view.runnable
      .flatMap((agent) => this.#stepsOf(agent, view))
      .filter((step) => !this.#sleep.some((other) => isSameTurn(other, step)));
    const step = left.shift();
    if (step === undefined) return false;
    this.#states.push({ sleep: [...this.#sleep], left, step });
    return true;
  }

  #stepsOf(agent: number, view: ExecutionView): Step[] {
    const pending = view.pending(agent);
    const { words } = this.#subject;
    if (this.#readiness.isBlocked(agent, view)) return [];
    const length = pending.kind === EventKind.choose ? pending.a : 1;
    return Array.from({ length }, (_, choice) => stepOf(agent, pending, words, choice));
  }

  /** Who waits for ever falls asleep, so that the engine sees the deadlock; otherwise all that could follow is explored elsewhere. */
  #end(view: ExecutionView): number {
    return this.#readiness.isOver(view) ? (view.runnable[0] as number) : ABANDON;
  }

  #cut(): number {
    this.isWhole = false;
    this.#keep();
    return ABANDON;
  }

  #keep(): void {
    const turns = this.#states.map(({ step }) => step).map(turnOf);
    this.#prefixes.push({ turns, sleep: this.#sleep.map(turnOf) });
  }

  #backtrack(): boolean {
    for (;;) {
      const state = this.#states.at(-1);
      if (state === undefined) return false;
      state.sleep.push(state.step);
      const step = state.left.shift();
      if (step !== undefined) {
        state.step = step;
        return true;
      }
      this.#states.pop();
    }
  }
}

function turnOf({ agent, choice }: Step): { readonly agent: number; readonly choice: number } {
  return { agent, choice };
}
