/** How a worker thread tells the one that asked how its work ended, as a value: the class of an error is lost on its way. */
import type { Finding } from '../explore/subject.ts';
import { StuckError, UserError } from './user-error.ts';

export type Answer<T> =
  | { readonly end: 'done'; readonly result: T }
  | { readonly end: 'user-error'; readonly message: string }
  | { readonly end: 'stuck'; readonly message: string; readonly findings: readonly Finding[] };

/** In the worker: does the work. Throws what is neither a UserError nor a StuckError. */
export async function answerTo<T>(work: () => T | Promise<T>): Promise<Answer<T>> {
  try {
    return { end: 'done', result: await work() };
  } catch (error) {
    if (error instanceof UserError) return { end: 'user-error', message: error.message };
    if (!(error instanceof StuckError)) throw error;
    return { end: 'stuck', message: error.message, findings: error.findings };
  }
}

/** In the thread that asked. @throws UserError, StuckError as they were thrown there. */
export function resultOf<T>(answer: Answer<T>): T {
  if (answer.end === 'done') return answer.result;
  throw answer.end === 'user-error'
    ? new UserError(answer.message)
    : new StuckError(answer.message, answer);
}
