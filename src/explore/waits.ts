/**
 * Who can take a step in an exhaustive exploration. A wait is no step until its word differs: agents do not fall asleep and wake up again,
 * which would multiply executions that differ in nothing else.
 *
 * Locks as `wholes`: coming to a lock that is taken is no step, unless another agent's next step is to look at its word. Whoever comes to
 * it waits for its turn and does nothing else; so if nobody looks at the word until its turn has come, it may as well come then: all others do
 * the same, and what locks are left with is the same. A holder that does look finds it come or not, in an execution of each kind.
 *
 * What is lost: a writer of a reader-writer lock that waits keeps readers out, here none. Every order in which the lock can be held remains; a
 * deadlock that needs a reader to wait behind a writer that waits shows to the checker of lock orders, not here.
 */
import { EventKind } from '../engine/events.ts';
import type { ExecutionView, Pending } from '../engine/execution.ts';
import type { Word } from '../engine/port.ts';
import { Access, isWaiting, type Step } from './step.ts';
import type { Locks, Subject } from './subject.ts';

/** Whether an agent waits for a word that has not changed yet. */
export function isBlocked({ kind, at, a }: Pending, words: Int32Array): boolean {
  return isWaiting(kind) && words[at >>> 2] === a;
}

/** A strategy's bound, with what is left to locks. */
export function boundOf(bound: string, locks: Locks): string {
  return locks === 'wholes' ? `${bound}, with locks as wholes` : bound;
}

/** Who can take a step, where locks may be wholes. */
export class Readiness {
  readonly #words: Int32Array;
  readonly #locks: Locks;

  constructor({ words, locks }: Pick<Subject, 'words' | 'locks'>) {
    this.#words = words;
    this.#locks = locks;
  }

  isBlocked(agent: number, view: ExecutionView): boolean {
    const pending = view.pending(agent);
    if (isBlocked(pending, this.#words)) return true;
    const { at, busy } = pending;
    if (this.#locks === 'steps' || ((this.#words[at >>> 2] as number) & busy) === 0) return false;
    return !view.runnable.some((other) => isLookAt(at, view.pending(other)));
  }

  /** Whether nobody can take a step. */
  isOver(view: ExecutionView): boolean {
    return view.runnable.every((agent) => this.isBlocked(agent, view));
  }

  /** Whether a step of `agent` switches away from one that could have gone on. */
  isPreemption(agent: number, view: ExecutionView): boolean {
    const { current, runnable } = view;
    return agent !== current && runnable.includes(current) && !this.isBlocked(current, view);
  }
}

function isLookAt(lock: Word, { kind, at }: Pending): boolean {
  return kind === EventKind.load32 && at === lock;
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
