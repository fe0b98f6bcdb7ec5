/**
 * Who can take a step in an exhaustive exploration. A wait is no step until its word differs: agents do not fall asleep and wake up again,
 * which would multiply executions that differ in nothing else.
 */
import { EventKind } from '../engine/events.ts';
import type { ExecutionView, Pending } from '../engine/execution.ts';
import { Access, isWaiting, type Step } from './step.ts';

/** Whether an agent waits for a word that has not changed yet. */
export function isBlocked({ kind, at, a }: Pending, words: Int32Array): boolean {
  return isWaiting(kind) && words[at >>> 2] === a;
}

/** An agent that waits for a word which `step` is about to write without a signal. Once it sleeps, the write is the engine's error. */
export function sleeperBefore(step: Step, view: ExecutionView): number | undefined {
  if (step.access !== Access.write || step.kind === EventKind.signal) return undefined;
  for (const agent of view.runnable) {
    const { kind, at } = view.pending(agent);
    if (kind === EventKind.wait && at >= step.at && at < step.at + step.bytes) return agent;
  }
  return undefined;
}

/** Whether a step of `agent` switches away from one that could have gone on. */
export function isPreemption(agent: number, view: ExecutionView, words: Int32Array): boolean {
  const { current, runnable } = view;
  return (
    agent !== current && runnable.includes(current) && !isBlocked(view.pending(current), words)
  );
}
