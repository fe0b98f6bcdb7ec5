/**
 * Exhaustive exploration without reduction: every interleaving, in the order of agent numbers. For the smallest programs only; it is what
 * the other exhaustive strategies are compared with.
 */
import { DepthFirst } from './depth-first.ts';
import type { Subject } from './subject.ts';
import { boundOf } from './waits.ts';

export class BruteForce extends DepthFirst {
  readonly bound: string;

  constructor(subject: Pick<Subject, 'words' | 'locks'>) {
    super(subject);
    this.bound = boundOf('every interleaving', subject.locks);
  }

  protected candidates(enabled: readonly number[]): readonly number[] {
    return enabled;
  }
}
