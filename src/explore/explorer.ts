/**
 * Runs a strategy: one execution after the other, each judged, counted and, if it fails, kept as a schedule.
 *
 * Goals: what is counted is exact; every failure can be replayed. Non-goals: clocks and terminals, which are `main`'s.
 */
import { explore } from '#port';
import { Execution, type ExecutionResult } from '../engine/execution.ts';
import { HappensBefore } from './happens-before.ts';
import { explainDeadlock, explainLoop, type Names } from './liveness.ts';
import { Recorder } from './recorder.ts';
import { StrategyError, type Ended, type Strategy } from './strategy.ts';
import type { Finding, Subject } from './subject.ts';
import { Tally } from './tally.ts';

/** What no exploration exceeds. */
export interface Limits {
  /** Executions, those that were abandoned included. */
  readonly schedules: number;
  /** Steps of all executions together. */
  readonly steps: number;
  /** Steps after which one execution counts as endless: a verdict. */
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
    this.#order = new HappensBefore(subject.agents);
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
    const recorder = this.#nextRecorder();
    const left = this.#limits.steps - this.steps;
    const stepsMax = Math.min(this.#limits.stepsOfOne, left);
    const agents = this.#subject.begin();
    this.#names.agent = (agent) => agents[agent]?.name ?? String(agent);
    const view: Execution = new Execution({
      agents,
      scheduler: recorder,
      stepsMax,
      sinks: this.#subject.sinks ?? [],
    });
    const result = explore(view);
    if (result.outcome === 'threw' && result.error instanceof StrategyError) throw result.error;
    this.#last = { result, view };
    this.#count(result, recorder);
    const isCutOff = result.outcome === 'stepsExceeded' && stepsMax === left;
    if (!isCutOff && result.outcome !== 'abandoned') this.#judge(result, recorder);
    return null;
  }

  #nextRecorder(): Recorder {
    const keepsSteps = this.#order !== null;
    const { words } = this.#subject;
    this.#recorder = new Recorder(this.#strategy, words, keepsSteps, this.#recorder?.steps);
    return this.#recorder;
  }

  #count(result: ExecutionResult, recorder: Recorder): void {
    this.schedules++;
    this.steps += result.steps;
    this.preemptions += recorder.preemptions;
    if (result.outcome === 'abandoned') this.abandoned++;
    if (result.outcome === 'stepsExceeded') this.endless++;
  }

  #judge(result: ExecutionResult, recorder: Recorder): void {
    if (this.#order !== null) this.#countTrace(this.#order, recorder);
    const verdicts = new Set<string>();
    for (const found of this.#subject.judge(result)) {
      const finding = { ...found, message: this.#explained(found, result, recorder) };
      if (!verdicts.has(finding.verdict)) this.#keep(finding, recorder);
      verdicts.add(finding.verdict);
    }
    if (result.outcome === 'completed') this.finalStates.add(this.#subject.finalState());
  }

  /** The message, and why an execution does not end. */
  #explained({ message }: Finding, { outcome }: ExecutionResult, { steps }: Recorder): string {
    const why =
      outcome === 'deadlock'
        ? explainDeadlock(steps, this.#names)
        : outcome === 'stepsExceeded'
          ? explainLoop(steps, this.#names)
          : '';
    return why === '' ? message : `${message}: ${why}`;
  }

  #countTrace(order: HappensBefore, { steps }: Recorder): void {
    order.load(steps, []);
    const trace = order.fingerprint();
    this.traces.set(trace, (this.traces.get(trace) ?? 0) + 1);
  }

  #keep(finding: Finding, { agents, choices, preemptions }: Recorder): void {
    this.addFailure({ ...finding, schedule: { agents, choices }, preemptions, times: 1 });
  }
}
