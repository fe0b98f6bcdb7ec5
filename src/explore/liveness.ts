/**
 * Why an execution does not end: who waits for which word and who wrote it last, or which steps it repeats.
 *
 * An agent's state is where it is in its program and what the port has told it since. A state recurs where all agents, each in its turn,
 * make the same steps and find the same several times in a row: nothing that they look at makes the next time another. Words that
 * only grow are left out: sequences, tickets, places in a ring.
 *
 * It cannot see what an agent counts for itself, nor plain words: a loop that ends after more rounds than are looked at is taken for one
 * that does not. Nor does it see loops that are longer than what it looks at.
 */
import { EventKind } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import { Access, type Step } from './step.ts';

/** How a report calls agents and words. */
export interface Names {
  agent(agent: number): string;
  word(at: Word): string;
}

/** Repetitions that make a loop, and the longest that is looked for. */
const REPEATS = 4;
const LOOP_MAX = 5000;
/** Steps in which any loop that is looked for shows, and some before it; a few more than a power of two times the first look. */
export const FAIR_STEPS = 32_769;
/** Steps of a loop that a report has, at most. */
const STEPS_SHOWN = 12;

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

/** Steps that an execution repeats at its end. */
export interface Loop {
  readonly length: number;
  /** Steps of the execution after which it has been repeated often enough to be seen. */
  readonly end: number;
}

/**
 * The shortest loop at the end of an execution in which everybody has a turn: null if there is none. `waiting`: who could still take a
 * step. `monotone`: the structure in which a word is that only grows, or goes round; null for others.
 */
export function loopOf(
  steps: readonly Step[],
  waiting: readonly number[],
  monotone: Monotone,
): Loop | null {
  for (let length = 1; length <= LOOP_MAX && length * REPEATS <= steps.length; length++) {
    if (!isRepeated(steps, length, monotone)) continue;
    const agents = new Set(steps.slice(-length).map(({ agent }) => agent));
    if (waiting.some((agent) => !agents.has(agent))) return null;
    let from = steps.length - length * REPEATS;
    while (from > 0 && isSame(steps, from - 1, length, monotone)) from--;
    return { length, end: from + length * REPEATS };
  }
  return null;
}

/** The steps of a loop; of a long one each that differs, some of them. */
export function explainLoop(steps: readonly Step[], { length, end }: Loop, names: Names): string {
  const texts = steps.slice(end - length, end).map(({ agent, kind, at }) => {
    return `${names.agent(agent)} ${KINDS.get(kind)} ${names.word(at)}`;
  });
  const shown = length <= STEPS_SHOWN ? texts : [...new Set(texts)];
  const more = shown.length - STEPS_SHOWN;
  const rest = more > 0 ? ` and ${more} others` : '';
  return `again and again ${length} steps: ${shown.slice(0, STEPS_SHOWN).join(', ')}${rest}`;
}

function writes({ access, at, bytes }: Step, word: Word): boolean {
  return access === Access.write && word >= at && word < at + bytes;
}

type Monotone = (at: Word) => Word | null;

function isRepeated(steps: readonly Step[], length: number, monotone: Monotone): boolean {
  const from = steps.length - length * REPEATS;
  for (let i = steps.length - length - 1; i >= from; i--)
    if (!isSame(steps, i, length, monotone)) return false;
  return true;
}

/** Whether a step comes again `length` steps later, and finds the same. */
function isSame(steps: readonly Step[], i: number, length: number, monotone: Monotone): boolean {
  const one = steps[i] as Step;
  const next = steps[i + length] as Step;
  if (one.agent !== next.agent || one.kind !== next.kind) return false;
  const grows = monotone(one.at);
  if (grows !== null) return grows === monotone(next.at);
  return (
    one.at === next.at &&
    one.a === next.a &&
    one.b === next.b &&
    one.choice === next.choice &&
    one.lo === next.lo &&
    (one.bytes <= 4 || one.hi === next.hi)
  );
}
