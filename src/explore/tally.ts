/** What executions showed, counted; those of several explorers add up. */
import { isSimpler, type Failure } from './failure.ts';

export class Tally {
  /** Executions, those that were abandoned included. */
  schedules = 0;
  /** Executions that a strategy gave up because others cover them. */
  abandoned = 0;
  steps = 0;
  preemptions = 0;
  /** Executions that met the limit of one: what comes after is not explored. */
  endless = 0;
  /** How often each trace was executed, by its fingerprint. */
  readonly traces: Map<number, number> = new Map();
  readonly finalStates: Set<string> = new Set();
  /** By verdict. */
  readonly failures: Map<string, Failure> = new Map();

  /**
   * The probability that one more random execution is of a trace that was not met before: the share of those that were met once (Good,
   * "The population frequencies of species and the estimation of population parameters", 1953).
   */
  get unseen(): number {
    const once = [...this.traces.values()].filter((times) => times === 1).length;
    return this.schedules === 0 ? 1 : once / this.schedules;
  }

  /** The same whatever the order in which tallies are added. */
  add(other: Omit<Tally, 'add' | 'addFailure' | 'unseen'>): void {
    this.schedules += other.schedules;
    this.abandoned += other.abandoned;
    this.steps += other.steps;
    this.preemptions += other.preemptions;
    this.endless += other.endless;
    for (const [trace, times] of other.traces)
      this.traces.set(trace, (this.traces.get(trace) ?? 0) + times);
    for (const state of other.finalStates) this.finalStates.add(state);
    for (const failure of other.failures.values()) this.addFailure(failure);
  }

  addFailure(failure: Failure): void {
    const known = this.failures.get(failure.verdict);
    const times = (known?.times ?? 0) + failure.times;
    const best = known === undefined || isSimpler(failure, known) ? failure : known;
    this.failures.set(failure.verdict, { ...best, times });
  }
}
