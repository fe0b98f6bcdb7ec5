import type { ExecutionView, Scheduler } from '../../src/engine/execution.ts';

/** A moment of an execution in which every agent has a load pending at its own word, 8 times its number. */
export function viewOf(runnable: readonly number[], current = -1): ExecutionView {
  return {
    runnable,
    current,
    steps: 0,
    pending: (agent) => ({ kind: 1, at: agent * 8, a: 0, b: 0, busy: 0 }),
  };
}

/** Who runs in so many steps if the same agents stay runnable. */
export function picks(scheduler: Scheduler, runnable: readonly number[], steps: number): number[] {
  const picked: number[] = [];
  for (let i = 0; i < steps; i++) picked.push(scheduler.next(viewOf(runnable, picked.at(-1))));
  return picked;
}
