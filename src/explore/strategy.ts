/** A strategy decides which executions are made, one after the other. */
import type { ExecutionResult, ExecutionView, Scheduler } from '../engine/execution.ts';

/** An execution that has ended; the view shows what its agents had before them. */
export interface Ended {
  readonly result: ExecutionResult;
  readonly view: ExecutionView;
}

/** A scheduler for many executions, each of the same program from the same beginning. */
export interface Strategy extends Scheduler {
  /** What it promises, in words for a report; may become more exact as it learns about the program. */
  readonly bound: string;
  /** Whether an execution that it gives up may end anywhere, and is not one that others cover. */
  readonly endsAnywhere?: boolean;
  /** Prepares the next execution, knowing the last (null before the first); false if there is none: all that `bound` says was explored. */
  begin(last: Ended | null): boolean;
}

/** A strategy cannot do what it has to: no property of what is explored. */
export class StrategyError extends Error {
  override readonly name: string = 'StrategyError';
}
