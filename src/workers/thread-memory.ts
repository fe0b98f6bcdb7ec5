import { workerData } from 'node:worker_threads';
import type { EngineMemory } from '../engine/port.ts';

/**
 * The shared memory that the pool gave this thread when it started. One object for the life of the thread: a port that is attached
 * again to the same object keeps its compiled state.
 */
export function threadMemory(): EngineMemory {
  return workerData as EngineMemory;
}
