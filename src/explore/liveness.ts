/** Why an execution does not end: who waits for which word and who wrote it last, or which steps it repeats. */
import { EventKind } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import { Access, type Step } from './step.ts';

/** How a report calls agents and words. */
export interface Names {
  agent(agent: number): string;
  word(at: Word): string;
}

/** Repetitions that make a loop, and the longest that is looked for. */
const REPEATS = 3;
const LOOP_MAX = 500;

const KINDS = new Map<number, string>(
  Object.entries(EventKind).map(([name, kind]) => [kind, name]),
);

/** Of a deadlock: each agent that waits, in their order. */
export function explainDeadlock(steps: readonly Step[], names: Names): string {
  const lasts = new Map(steps.map((step) => [step.agent, step]));
  return [...lasts.values()]
    .filter((step) => step.isBlocked)
    .toSorted((a, b) => a.agent - b.agent)
    .map((step) => {
      const writer = steps.findLastIndex((other) => writes(other, step.at));
      const last = steps[writer];
      const who =
        last === undefined
          ? 'nobody wrote'
          : `${names.agent(last.agent)} wrote last (step ${writer + 1})`;
      return `${names.agent(step.agent)} waits for ${names.word(step.at)}, which ${who}`;
    })
    .join('; ');
}

/** Of an endless execution: the shortest sequence of steps that its end repeats; empty if there is none. */
export function explainLoop(steps: readonly Step[], names: Names): string {
  for (let length = 1; length <= LOOP_MAX && length * REPEATS <= steps.length; length++) {
    if (!isRepeated(steps, length)) continue;
    const loop = steps.slice(-length).map(({ agent, kind, at }) => {
      return `${names.agent(agent)} ${KINDS.get(kind)} ${names.word(at)}`;
    });
    return `again and again: ${loop.join(', ')}`;
  }
  return '';
}

function writes({ access, at, bytes }: Step, word: Word): boolean {
  return access === Access.write && word >= at && word < at + bytes;
}

function isRepeated(steps: readonly Step[], length: number): boolean {
  const from = steps.length - length * REPEATS;
  for (let i = from; i < steps.length - length; i++) {
    const one = steps[i] as Step;
    const next = steps[i + length] as Step;
    if (one.agent !== next.agent || one.kind !== next.kind || one.at !== next.at) return false;
  }
  return true;
}
