import type { Finding } from '../explore/subject.ts';

/** Wrong usage or input: the message is one line for the user and names the file, field or flag. Exit status 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/**
 * A run that cannot end: deadlock, livelock, a worker that died. The message is one line. Exit status 3, unless checkers had found something
 * until then: that is then the result of the run.
 */
export class StuckError extends Error {
  override readonly name = 'StuckError';
  /** What checkers of events had found until then. */
  readonly findings: readonly Finding[];

  constructor(
    message: string,
    options: ErrorOptions & { readonly findings?: readonly Finding[] } = {},
  ) {
    super(message, options);
    this.findings = options.findings ?? [];
  }
}

/** An end that came early, with what was found until then: that may be its cause, even of an assertion. What is the user's stays so. */
export function endedEarly(error: unknown, findings: readonly Finding[]): unknown {
  if (findings.length === 0 || error instanceof UserError) return error;
  const message = error instanceof StuckError ? error.message : `the code threw: ${String(error)}`;
  return new StuckError(message, { cause: error, findings });
}

/** A worker died, or its code threw: the cause. */
export class WorkerDied extends StuckError {
  /** Which of the tasks it ran. */
  readonly task: number;

  constructor(task: number, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`a worker died: ${why}`, { cause });
    this.task = task;
  }
}
