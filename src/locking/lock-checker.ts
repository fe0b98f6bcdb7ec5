/**
 * Checks how agents use their locks, from the events of an execution, as the kernel's lockdep does: a passive automaton that influences
 * nothing, and costs nothing where there are no events.
 *
 * Can prove: that the executions seen took locks in an order without cycles, though no deadlock came of it; that nobody slept under a
 * spin lock or in an RCU section; that no hold was longer than its class allows; that everything was given back. Cannot see: an order that
 * no execution took, and locks that are not in the table of classes.
 */
import { EventKind, LockMode, RECORD, type EventSink } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import { isAtomic, mayWait, maySleep, type LockClass } from './lock-class.ts';
import { LockOrder } from './lock-order.ts';

/** One short stable code for each way in which a lock can be used wrongly. */
export const LOCK_VERDICTS = [
  'lock-order',
  'lock-sleep',
  'lock-hold',
  'lock-not-released',
] as const;

/** Something that is wrong, and what happened. */
export interface LockFinding {
  readonly verdict: (typeof LOCK_VERDICTS)[number];
  readonly message: string;
}

interface Hold {
  readonly at: Word;
  readonly of: LockClass;
  readonly isShared: boolean;
  /** Operations of the holder since. */
  steps: number;
}

/** Kinds below this are operations of the port. */
const FIRST_MOMENT = EventKind.lockAcquired;

export class LockChecker implements EventSink {
  readonly #classes: ReadonlyMap<Word, LockClass>;
  readonly #order: LockOrder;
  readonly #nameOf: (agent: number) => string;
  /** By agent, outermost first. */
  readonly #held = new Map<number, Hold[]>();
  /** What was found since the last reset, each once. */
  readonly #findings = new Map<string, LockFinding>();

  /** `classes`: by the word that a lock's events name. `declared`: names of classes, outermost first. `nameOf`: of an agent, in messages. */
  constructor(
    classes: ReadonlyMap<Word, LockClass>,
    declared: readonly string[],
    nameOf: (agent: number) => string = (agent) => `agent ${agent}`,
  ) {
    this.#nameOf = nameOf;
    this.#classes = classes;
    this.#order = new LockOrder(declared);
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const kind = agentAndKind & 0xffff;
    const agent = agentAndKind >> 16;
    if (kind < FIRST_MOMENT) this.#step(agent);
    else if (kind === EventKind.mightSleep) this.#sleeps(agent, 'a call that may sleep');
    else if (kind === EventKind.lockAcquired || kind === EventKind.lockReleased) {
      const at = record[RECORD.location] as number;
      const of = this.#classes.get(at);
      if (of === undefined) return;
      const isShared = (record[RECORD.newHi] as number) === LockMode.shared;
      if (kind === EventKind.lockAcquired) this.#acquired(agent, { at, of, isShared, steps: 0 });
      else this.#released(agent, at);
    }
  }

  /** At the end of an execution that completed: nothing may be held but by daemons, which are in the middle of their work. */
  finish(isDaemon: (agent: number) => boolean): void {
    for (const [agent, holds] of this.#held) {
      if (isDaemon(agent)) continue;
      for (const { of } of holds) {
        this.#found('lock-not-released', `${this.#nameOf(agent)} ended with ${of.name} held`);
      }
    }
  }

  get findings(): readonly LockFinding[] {
    return Array.from(this.#findings.values());
  }

  /** Before another execution; the order that was seen is kept: a cycle may come together from several. */
  reset(): void {
    this.#held.clear();
    this.#findings.clear();
  }

  #holdsOf(agent: number): Hold[] {
    const known = this.#held.get(agent);
    if (known !== undefined) return known;
    const holds: Hold[] = [];
    this.#held.set(agent, holds);
    return holds;
  }

  #acquired(agent: number, hold: Hold): void {
    const { of, isShared } = hold;
    if (mayWait(of.kind, isShared)) this.#ordered(agent, of);
    if (maySleep(of.kind, isShared)) this.#sleeps(agent, of.name);
    this.#holdsOf(agent).push(hold);
  }

  #ordered(agent: number, taken: LockClass): void {
    for (const { of } of this.#holdsOf(agent)) {
      const cycle = this.#order.add(of.name, taken.name);
      if (cycle === null) continue;
      const before = cycle.length === 1 ? '' : `; before: ${cycle.join(', then ')}`;
      this.#found(
        'lock-order',
        `${this.#nameOf(agent)} took ${taken.name} under ${of.name}${before}`,
      );
    }
  }

  #sleeps(agent: number, what: string): void {
    const atomic = this.#holdsOf(agent).find(({ of }) => isAtomic(of.kind));
    if (atomic !== undefined) {
      this.#found(
        'lock-sleep',
        `${this.#nameOf(agent)} may sleep in ${what} with ${atomic.of.name} held`,
      );
    }
  }

  #released(agent: number, at: Word): void {
    const holds = this.#holdsOf(agent);
    const index = holds.findLastIndex((hold) => hold.at === at);
    if (index >= 0) holds.splice(index, 1);
  }

  #step(agent: number): void {
    const holds = this.#held.get(agent);
    if (holds === undefined) return;
    for (const hold of holds) {
      if (++hold.steps !== hold.of.holdStepsMax + 1) continue;
      const bound = `more than ${hold.of.holdStepsMax} operations`;
      this.#found('lock-hold', `${this.#nameOf(agent)} held ${hold.of.name} for ${bound}`);
    }
  }

  #found(verdict: LockFinding['verdict'], message: string): void {
    this.#findings.set(`${verdict}: ${message}`, { verdict, message });
  }
}
