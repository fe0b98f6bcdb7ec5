/** What the worker thread of an exploration with edits does: the whole command, on edited modules. */
import { parentPort, workerData } from 'node:worker_threads';
import { answerTo } from '../answer.ts';
import { here, type Task } from './tasks.ts';

parentPort?.postMessage(await answerTo(() => here(workerData as Task)));
