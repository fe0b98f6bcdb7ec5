/**
 * Every interleaving with at most so many preemptions: switches away from an agent that could have gone on (Musuvathi and Qadeer,
 * "Iterative context bounding for systematic testing of multithreaded programs", 2007). Most defects need one or two.
 *
 * First without any, then with one more each time, so that what fails first needs fewest. Deviation: a larger bound makes the executions
 * of the smaller ones again.
 */
import type { ExecutionView } from '../engine/execution.ts';
import { DepthFirst } from './depth-first.ts';
import type { Ended } from './strategy.ts';
import type { Locks, Subject } from './subject.ts';
import { boundOf } from './waits.ts';

export class PreemptionBounded extends DepthFirst {
  readonly #preemptionsMax: number;
  readonly #locks: Locks;
  /** The present bound. */
  #allowed = 0;
  /** Whether the present bound kept anything out. */
  #isCut = false;

  constructor(subject: Pick<Subject, 'words' | 'locks'>, preemptionsMax: number) {
    super(subject);
    this.#locks = subject.locks;
    this.#preemptionsMax = preemptionsMax;
  }

  get bound(): string {
    const bound = `every interleaving of at most ${this.#preemptionsMax} preemptions`;
    return boundOf(bound, this.#locks);
  }

  override begin(last: Ended | null): boolean {
    if (super.begin(last)) return true;
    if (!this.#isCut || this.#allowed === this.#preemptionsMax) return false;
    this.#allowed++;
    this.#isCut = false;
    return true;
  }

  protected candidates(enabled: readonly number[], { current }: ExecutionView): readonly number[] {
    if (!enabled.includes(current)) return enabled;
    const others = enabled.filter((agent) => agent !== current);
    if (this.preemptions < this.#allowed) return [current, ...others];
    this.#isCut ||= others.length > 0;
    return [current];
  }
}
