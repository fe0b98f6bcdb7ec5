/** Wrong usage or input: the message is one line for the user and names the file, field or flag. Exit status 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** A run that cannot end: deadlock, livelock, a worker that died. The message is one line. Exit status 3. */
export class StuckError extends Error {
  override readonly name = 'StuckError';
}
