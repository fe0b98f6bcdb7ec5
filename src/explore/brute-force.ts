/**
 * Exhaustive exploration without reduction: every interleaving, in the order of agent numbers. For the smallest programs only; it is what
 * the other exhaustive strategies are compared with.
 */
import { DepthFirst } from './depth-first.ts';

export class BruteForce extends DepthFirst {
  readonly bound = 'every interleaving';

  protected candidates(enabled: readonly number[]): readonly number[] {
    return enabled;
  }
}
