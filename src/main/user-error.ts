/** Wrong usage or input: the message is one line for the user and names the file, field or flag. Exit status 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** A run that cannot end: deadlock, livelock, a worker that died. The message is one line. Exit status 3. */
export class StuckError extends Error {
  override readonly name = 'StuckError';
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
