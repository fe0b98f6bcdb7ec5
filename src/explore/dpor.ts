/**
 * Exhaustive exploration with dynamic partial-order reduction: one execution for each Mazurkiewicz trace. The algorithm is optimal DPOR
 * with wake-up trees (Abdulla, Aronis, Jonsson and Sagonas, "Source sets", 2017, algorithm 2).
 *
 * Of a prefix it makes the executions that begin like it, as if whoever sleeps there could not run before a step that depends on its own: one
 * that goes on without it to the end belongs to another prefix. It is given up, but its races are not: they may lead to some that do not.
 *
 * Deviations: an execution starts from the beginning instead of from a saved state; whether a step reads or writes is decided where it
 * is taken (see step.ts); a wait is no step until its word differs, so that no agent sleeps here (Jonsson, Lang and Sagonas, "Awaiting
 * for Godot", 2022, treat the same question); `choose` branches into all its alternatives where it is first met.
 *
 * It proves: every trace was executed, if it ends by itself and no execution met a budget; where locks are wholes, one for all traces in which
 * they are held in the same order. It does not see what the port does not show: plain accesses are no steps, and weak memory is not
 * explored.
 */
import { ABANDON, type ExecutionView } from '../engine/execution.ts';
import { EventKind } from '../engine/events.ts';
import { HappensBefore, type Race } from './happens-before.ts';
import { isSameTurn, type Prefix, type Turn } from './prefix.ts';
import { areInConflict, stepOf, type Step } from './step.ts';
import { StrategyError, type Ended, type Strategy } from './strategy.ts';
import type { Subject } from './subject.ts';
import { Readiness, boundOf, sleeperBefore } from './waits.ts';
import { insert, isWeakInitial, type Branch } from './wakeup-tree.ts';

/** A state on the way of the present execution. */
interface State {
  /** Steps that were explored from here: nothing that begins like them needs to be again. */
  readonly sleep: Step[];
  /** What has to be explored from here after the present step. */
  readonly branches: Branch[];
  /** The step taken from here. */
  step: Step;
}

export class Dpor implements Strategy {
  readonly bound: string;
  readonly #words: Int32Array;
  readonly #order: HappensBefore;
  readonly #readiness: Readiness;
  readonly #hasDaemons: boolean;
  readonly #turns: readonly Turn[];
  /** Asleep after the turns, until an execution has come there. */
  #entry: readonly Turn[];
  readonly #elsewhere: Set<Step> = new Set();
  /** One state for each step of the execution. */
  readonly #states: State[] = [];
  readonly #steps: Step[] = [];
  /** Steps of this execution so far. */
  #depth = 0;
  /** What the state after the last one begins with. */
  #sleep: Step[] = [];
  #branches: Branch[] = [];
  readonly #sequence: Step[] = [];
  /** Agents that fell asleep. */
  #parked: number[] = [];
  /** The steps of those who came to locks after that, for ever. */
  #late: Step[] = [];

  constructor(
    subject: Pick<Subject, 'words' | 'agents' | 'hasDaemons' | 'locks'>,
    { turns, sleep }: Prefix,
  ) {
    this.bound = boundOf('every trace', subject.locks);
    this.#turns = turns;
    this.#entry = sleep;
    this.#words = subject.words;
    this.#order = new HappensBefore(subject);
    this.#readiness = new Readiness(subject);
    this.#hasDaemons = subject.hasDaemons;
  }

  begin(last: Ended | null): boolean {
    if (last === null) return true;
    this.#learn(last);
    this.#depth = 0;
    this.#parked = [];
    this.#late = [];
    return this.#backtrack();
  }

  next(view: ExecutionView): number {
    const depth = this.#depth;
    const isNew = depth >= this.#states.length;
    if (isNew && !this.#extend(view)) return this.#end(view);
    const { step } = this.#states[depth] as State;
    const sleeper = sleeperBefore(step, view);
    if (sleeper !== undefined) return this.#park(sleeper);
    this.#depth = depth + 1;
    return step.agent;
  }

  choose(): number {
    return (this.#states[this.#depth - 1] as State).step.choice;
  }

  /** Takes a step from a state that was not met before; false if there is none to take. */
  #extend(view: ExecutionView): boolean {
    const turn = this.#turns[this.#depth];
    if (turn !== undefined) return this.#follow(turn, view);
    if (this.#entry.length > 0) this.#enter(view);
    const branch = this.#branches.shift();
    const step = branch === undefined ? this.#anyStep(view) : this.#stepOf(branch.step, view);
    if (step === null) return false;
    if (step.kind === EventKind.choose) this.#addAlternatives(step);
    this.#states.push({ sleep: this.#sleep, branches: this.#branches, step });
    this.#steps.push(step);
    this.#sleep = this.#sleep.filter((other) => !areInConflict(other, step));
    this.#branches = branch?.next ?? [];
    return true;
  }

  /** Takes a step of the prefix: other prefixes are what else there is. */
  #follow(turn: Turn, view: ExecutionView): boolean {
    const step = this.#stepOf(turn, view);
    this.#states.push({ sleep: [], branches: [], step });
    this.#steps.push(step);
    return true;
  }

  #enter(view: ExecutionView): void {
    this.#sleep = this.#entry.map((turn) => this.#stepOf(turn, view));
    this.#entry = [];
    for (const step of this.#sleep) this.#elsewhere.add(step);
  }

  #stepOf({ agent, choice }: Turn, view: ExecutionView): Step {
    const step = stepOf(agent, view.pending(agent), this.#words, choice);
    if (step.isBlocked || !view.runnable.includes(agent)) {
      throw new StrategyError(`agent ${agent} was to take a step that it cannot take`);
    }
    return step;
  }

  /** A step that does not sleep, of the agent that ran last if it has one: fewer switches are easier to read. */
  #anyStep(view: ExecutionView): Step | null {
    const { current, runnable } = view;
    const own = runnable.includes(current) ? this.#wakefulStep(current, view) : null;
    if (own !== null) return own;
    for (const agent of runnable) {
      const step = this.#wakefulStep(agent, view);
      if (step !== null) return step;
    }
    return null;
  }

  #wakefulStep(agent: number, view: ExecutionView): Step | null {
    if (this.#readiness.isBlocked(agent, view)) return null;
    const pending = view.pending(agent);
    const choices = pending.kind === EventKind.choose ? pending.a : 1;
    for (let choice = 0; choice < choices; choice++)
      if (!this.#isAsleep({ agent, choice })) return stepOf(agent, pending, this.#words, choice);
    return null;
  }

  #isAsleep(turn: Turn): boolean {
    return this.#sleep.some((other) => isSameTurn(other, turn));
  }

  /** What else `choose` could give here, unless it was explored or will be. */
  #addAlternatives(step: Step): void {
    for (let choice = 0; choice < step.a; choice++) {
      const other = stepOf(step.agent, step, this.#words, choice);
      const isKnown = this.#branches.some((branch) => isSameTurn(branch.step, other));
      if (choice !== step.choice && !isKnown && !this.#isAsleep(other))
        this.#branches.push({ step: other, next: [] });
    }
  }

  /** Nobody has a step that is not explored elsewhere; who waits falls asleep, at locks too, so that the engine sees the deadlock. */
  #end(view: ExecutionView): number {
    if (!this.#readiness.isOver(view)) return ABANDON;
    const agent = view.runnable[0] as number;
    const step = stepOf(agent, view.pending(agent), this.#words, 0);
    if (step.isLate) this.#late.push(step);
    return this.#park(agent);
  }

  #park(agent: number): number {
    this.#parked.push(agent);
    return agent;
  }

  /** Finds the races of the execution, and has each reversed where that leads to a trace of its own. */
  #learn({ result, view }: Ended): void {
    const last = this.#steps.at(-1);
    const hasThrown = result.outcome === 'threw';
    const late = new Set(this.#late.map(({ agent }) => agent));
    const pending = [...view.runnable, ...this.#parked]
      .filter((agent) => !(hasThrown && agent === last?.agent) && !late.has(agent))
      .map((agent) => stepOf(agent, view.pending(agent), this.#words, 0));
    pending.push(...this.#late);
    // It keeps all others from going on: the step of one that threw, or the last step of all that are no daemons.
    const isEnd = hasThrown || (this.#hasDaemons && result.outcome === 'completed');
    if (last !== undefined && isEnd) last.isLast = true;
    this.#order.load(this.#steps, pending);
    for (const race of this.#order.races) this.#reverse(race);
  }

  /** What is needed for the later step to come before the first, and what does not depend on that. */
  #reverse({ first, reversed }: Race): void {
    if (first < this.#turns.length) return;
    const { sleep, branches } = this.#states[first] as State;
    const sequence = this.#sequence;
    sequence.length = 0;
    this.#order.notAfter(first, sequence);
    sequence.push(reversed);
    if (!sleep.some((other) => this.#covers(other, sequence))) insert(branches, sequence);
  }

  /** Whether what was explored from a step on makes a sequence superfluous; what other prefixes explore does not, unless it takes that step. */
  #covers(step: Step, sequence: readonly Step[]): boolean {
    if (this.#elsewhere.has(step) && !sequence.some(({ agent }) => agent === step.agent))
      return false;
    return isWeakInitial(step, sequence);
  }

  /** To the last state from which something is left. */
  #backtrack(): boolean {
    for (;;) {
      if (this.#states.length <= this.#turns.length) return false;
      const state = this.#states.pop() as State;
      this.#steps.pop();
      state.sleep.push(state.step);
      if (state.branches.length === 0) continue;
      this.#sleep = state.sleep;
      this.#branches = state.branches;
      return true;
    }
  }
}
