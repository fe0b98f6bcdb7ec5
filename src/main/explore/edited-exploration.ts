/** What the worker thread of an exploration with edits does: the whole command, on edited modules. */
import { parentPort, workerData } from 'node:worker_threads';
import { StuckError, UserError } from '../user-error.ts';
import { here, type Answer, type Task } from './tasks.ts';

parentPort?.postMessage(await answer(workerData as Task));

async function answer(task: Task): Promise<Answer> {
  try {
    return { end: 'done', result: await here(task) };
  } catch (error) {
    if (error instanceof UserError) return { end: 'user-error', message: error.message };
    if (error instanceof StuckError) return { end: 'stuck', message: error.message };
    throw error;
  }
}
