/**
 * Runs a strategy: one execution after the other, each judged, counted and, if it fails, kept as a schedule.
 *
 * Goals: what is counted is exact; every failure can be replayed. Non-goals: clocks and terminals, which are `main`'s.
 */
import { explore } from '#port';
import { Execution, type ExecutionResult, type ExecutionView } from '../engine/execution.ts';
import { HappensBefore } from './happens-before.ts';
import {
  FAIR_STEPS,
  explainDeadlock,
  explainLoop,
  loopOf,
  type Loop,
  type Names,
} from './liveness.ts';
import { Patience } from './patience.ts';
import { Recorder } from './recorder.ts';
import { StrategyError, type Ended, type Strategy } from './strategy.ts';
import type { Finding, Subject } from './subject.ts';
import { Tally } from './tally.ts';
import { isBlocked } from './waits.ts';

/** What no exploration exceeds. */
export interface Limits {
  /** Executions, those that were abandoned included. */
  readonly schedules: number;
  /** Steps of all executions together. */
  readonly steps: number;
  /** Steps after which one execution counts as endless. It goes on in turns for a while: either a loop is seen, or it met the limit. */
  readonly stepsOfOne: number;
}

/** Why no further execution is made. */
export type Stopped = 'exhausted' | 'schedules' | 'steps';

export class Explorer extends Tally {
  readonly #subject: Subject;
  readonly #strategy: Strategy;
  readonly #limits: Limits;
  /** Null: traces are not told apart. */
  #order: HappensBefore | null;
  #last: Ended | null = null;
  #recorder: Recorder | null = null;
  readonly #names: Names;

  constructor(subject: Subject, strategy: Strategy, limits: Limits) {
    super();
    this.#subject = subject;
    this.#strategy = strategy;
    this.#limits = limits;
    // Only the order is asked for, which is the same; races with locks as wholes take a look back at all that came to the lock.
    this.#order = new HappensBefore({ agents: subject.agents, locks: 'steps' });
    this.#names = {
      agent: String,
      word: (at) => subject.nameOf?.(at) ?? `word ${at}`,
    };
  }

  /** From now on executions are counted and judged only: that takes less time. */
  ignoreTraces(): void {
    this.#order = null;
  }

  /** Makes one more execution; says why not if there is none to be made. */
  advance(): Stopped | null {
    if (this.schedules >= this.#limits.schedules) return 'schedules';
    if (this.steps >= this.#limits.steps) return 'steps';
    if (!this.#strategy.begin(this.#last)) return 'exhausted';
    const { stepsOfOne } = this.#limits;
    const { words } = this.#subject;
    const patience: Patience = new Patience(
      this.#strategy,
      words,
      stepsOfOne,
      (at) => this.#loop(recorder, at) !== null,
    );
    const recorder = this.#nextRecorder(patience);
    const left = this.#limits.steps - this.steps;
    const stepsMax = Math.min(stepsOfOne + FAIR_STEPS, left);
    const agents = this.#subject.begin();
    this.#names.agent = (agent) => agents[agent]?.name ?? String(agent);
    const view: Execution = new Execution({
      agents,
      scheduler: recorder,
      stepsMax,
      sinks: this.#subject.sinks ?? [],
    });
    const result = patience.ended(explore(view));
    if (result.outcome === 'threw' && result.error instanceof StrategyError) throw result.error;
    this.#count(result, recorder);
    const { outcome } = result;
    const isCutOff = outcome === 'stepsExceeded' && stepsMax === left;
    const isCovered = outcome === 'abandoned' && this.#strategy.endsAnywhere !== true;
    if (!isCutOff && !isCovered) this.#judge(result, recorder, view);
    this.#last = this.#lastOf(patience, { result, view });
    return null;
  }

  /** What a strategy is told of an execution: no more than it decided. */
  #lastOf({ cut }: Patience, ended: Ended): Ended {
    if (cut === null) return ended;
    this.endless += ended.result.outcome === 'stepsExceeded' ? 0 : 1;
    this.#subject.words.set(cut.words);
    return { result: cut.result, view: cut.view };
  }

  #nextRecorder(scheduler: Patience): Recorder {
    const keepsSteps = this.#order !== null;
    const { words } = this.#subject;
    this.#recorder = new Recorder(scheduler, words, keepsSteps, this.#recorder?.steps);
    return this.#recorder;
  }

  #count(result: ExecutionResult, recorder: Recorder): void {
    this.schedules++;
    this.steps += result.steps;
    this.preemptions += recorder.preemptions;
    if (result.outcome === 'abandoned') this.abandoned++;
    if (result.outcome === 'stepsExceeded') this.endless++;
  }

  #judge(result: ExecutionResult, recorder: Recorder, view: ExecutionView): void {
    const { outcome } = result;
    const isOpen = outcome === 'stepsExceeded' || outcome === 'abandoned';
    if (this.#order !== null && !isOpen) this.#countTrace(this.#order, recorder);
    const verdicts = new Set<string>();
    const loop = isOpen ? this.#loop(recorder, view) : null;
    for (const found of this.#findings(result, recorder, loop)) {
      if (!verdicts.has(found.verdict)) this.#keep(found, recorder, loop);
      verdicts.add(found.verdict);
    }
    if (outcome === 'completed') this.finalStates.add(this.#subject.finalState());
  }

  /** What the subject finds, and why an execution does not end: a loop is a livelock. */
  #findings(result: ExecutionResult, { steps }: Recorder, loop: Loop | null): readonly Finding[] {
    const found = this.#subject.judge(result);
    if (loop !== null) {
      const livelock = { verdict: 'livelock', message: explainLoop(steps, loop, this.#names) };
      return [...found.filter(({ verdict }) => verdict !== 'step-limit'), livelock];
    }
    const why = result.outcome === 'deadlock' ? explainDeadlock(steps, this.#names) : '';
    return found.map((each) =>
      each.verdict === 'deadlock' && why !== ''
        ? { ...each, message: `${each.message}: ${why}` }
        : each,
    );
  }

  #loop({ steps }: Recorder, view: ExecutionView): Loop | null {
    const { words } = this.#subject;
    const waiting = view.runnable.filter((agent) => !isBlocked(view.pending(agent), words));
    return loopOf(steps, waiting, (at) => this.#subject.monotone?.(at) ?? null);
  }

  #countTrace(order: HappensBefore, { steps }: Recorder): void {
    order.load(steps, []);
    const trace = order.fingerprint();
    this.traces.set(trace, (this.traces.get(trace) ?? 0) + 1);
  }

  /** Of a loop what shows it. */
  #keep(finding: Finding, recorder: Recorder, loop: Loop | null): void {
    const shows = finding.verdict === 'livelock' ? loop?.end : undefined;
    const kept = recorder.beginning(shows ?? recorder.agents.length);
    this.addFailure({ ...finding, ...kept, times: 1 });
  }
}
