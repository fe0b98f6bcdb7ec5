/** What is left of a subject's programs: a smaller subject of the same kind. */

/** What one agent does in one phase, as operations that can be left out. */
export interface Program {
  readonly phase: number;
  readonly agent: number;
  /** Each in a few words. */
  readonly operations: readonly string[];
}

/** What is left of a program, as indexes of its operations, ascending. */
export interface Remainder {
  readonly phase: number;
  readonly agent: number;
  readonly kept: readonly number[];
}

/** Something to explore of which operations can be left out. */
export interface Divisible<Subject> {
  readonly programs: readonly Program[];
  /** Programs without a part are whole. The last one that was made is the one that can be explored. */
  subjectOf(rests: readonly Remainder[]): Subject;
}
