/** What is explored: a program of agents over memory that comes back to the same beginning. */
import type { AgentSpec, ExecutionResult } from '../engine/execution.ts';
import type { EventSink } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';

/** Something that is wrong. `verdict`: a short stable code. */
export interface Finding {
  readonly verdict: string;
  readonly message: string;
  /** What led to it, a line each, where the checker knows. */
  readonly context?: readonly string[];
}

/**
 * How much of an exhaustive exploration locks are. `steps`: every step of their algorithms. `wholes`: who comes to a lock that is taken comes
 * only when it is free, unless a holder is about to look who has come; see waits.ts.
 */
export type Locks = 'steps' | 'wholes';

export interface Subject {
  /** The memory that the agents run on. */
  readonly words: Int32Array;
  readonly agents: number;
  /** Whether there are daemons that may be anywhere at the end. */
  readonly hasDaemons: boolean;
  readonly locks: Locks;
  /**
   * What watches an execution, for `judge`. Exhaustive strategies execute one order of independent steps for all: what they find may
   * not depend on that order.
   */
  readonly sinks?: readonly EventSink[];
  /** Undoes what the last execution did, and builds the agents anew. */
  begin(): AgentSpec[];
  /** What is wrong with an execution that has just ended, {@link findingsOf} at least; asked before the next one begins. */
  judge(result: ExecutionResult): readonly Finding[];
  /** What a word of memory is, in a report; null if it has no name. */
  nameOf?(at: Word): string | null;
  /** The structure that a word is in whose words only grow, or go round; null for others. */
  monotone?(at: Word): Word | null;
  /** What 64 bits at a word of memory mean, in a report; null if they are no more than a number. */
  describe?(at: Word, lo: number, hi: number): string | null;
  /** What a completed execution left, as far as executions may differ in it; asked after `judge`. */
  finalState(): string;
}

const VERDICTS = {
  completed: null,
  abandoned: null,
  deadlock: 'deadlock',
  stepsExceeded: 'step-limit',
  threw: 'error',
} as const;

/** What is wrong with how an execution ended, whatever was run; nothing if it completed. */
export function findingsOf(result: ExecutionResult): readonly Finding[] {
  const verdict = VERDICTS[result.outcome];
  return verdict === null || result.outcome === 'completed'
    ? []
    : [{ verdict, message: result.detail }];
}
