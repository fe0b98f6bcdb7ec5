/**
 * One execution to be read: a line for each step, time downwards, a column for each agent. A switch says why it happened, and a step
 * what it found and what it left, where that says more than the operation.
 */
import { EventKind, RECORD, type EventSink } from '../engine/events.ts';
import {
  Execution,
  type AgentSpec,
  type ExecutionView,
  type Scheduler,
} from '../engine/execution.ts';
import { explore } from '#port';
import type { Word } from '../engine/port.ts';
import { Replay } from './replay.ts';
import type { Answers } from './schedule.ts';
import type { Subject } from './subject.ts';
import { isBlocked } from './waits.ts';

const KINDS = new Map<number, string>(
  Object.entries(EventKind).map(([name, kind]) => [kind, name]),
);
/** Operations on 64 bits. */
const WIDE: ReadonlySet<number> = new Set([EventKind.load64, EventKind.store64, EventKind.cas64]);

/** Of an endless execution all would be too many. */
const ROWS_MAX = 200;

export interface Timeline {
  /** Names of the agents: the heads of the columns. */
  readonly agents: readonly string[];
  /** At most {@link ROWS_MAX}: of a longer execution the end. */
  readonly rows: readonly Row[];
}

export interface Row {
  /** From 1 on. */
  readonly step: number;
  readonly agent: number;
  readonly text: string;
  /** Why the agent before it did not go on; empty where this one ran already. */
  readonly why: string;
}

/** Runs a schedule again. */
export function timelineOf(subject: Subject, schedule: Answers): Timeline {
  const agents = subject.begin();
  const reader = new Reader(subject, agents, new Replay(schedule));
  const stepsMax = schedule.agents.length;
  explore(new Execution({ agents, scheduler: reader, stepsMax, sinks: [reader] }));
  return { agents: agents.map(({ name }) => name), rows: reader.rows.slice(-ROWS_MAX) };
}

class Reader implements Scheduler, EventSink {
  readonly rows: { step: number; agent: number; text: string; why: string }[] = [];
  readonly #subject: Subject;
  readonly #agents: readonly AgentSpec[];
  readonly #scheduler: Scheduler;

  constructor(subject: Subject, agents: readonly AgentSpec[], scheduler: Scheduler) {
    this.#subject = subject;
    this.#agents = agents;
    this.#scheduler = scheduler;
  }

  next(view: ExecutionView): number {
    const agent = this.#scheduler.next(view);
    if (agent < 0) return agent;
    const { kind, at } = view.pending(agent);
    this.rows.push({
      step: view.steps + 1,
      agent,
      text: `${KINDS.get(kind)} ${this.#nameOf(at)}`,
      why: this.#why(agent, view),
    });
    return agent;
  }

  choose(n: number): number {
    const choice = this.#scheduler.choose(n);
    const row = this.rows.at(-1);
    if (row !== undefined) row.text = `choose ${choice} of ${n}`;
    return choice;
  }

  /** What the step that was begun last did. */
  onEvent(record: Int32Array): void {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    const row = this.rows.at(-1);
    const at = record[RECORD.location] as number;
    if (row === undefined || row.text !== `${KINDS.get(kind)} ${this.#nameOf(at)}`) return;
    const found = this.#value(kind, at, record[RECORD.oldLo], record[RECORD.oldHi]);
    const left = this.#value(kind, at, record[RECORD.newLo], record[RECORD.newHi]);
    row.text += found === left ? `: ${found}` : `: ${found} -> ${left}`;
  }

  #why(agent: number, view: ExecutionView): string {
    const { current, runnable } = view;
    if (current < 0 || agent === current) return '';
    const { name = '' } = this.#agents[current] ?? {};
    if (!runnable.includes(current)) return `${name} ended or sleeps`;
    return isBlocked(view.pending(current), this.#subject.words)
      ? `${name} waits`
      : `${name} preempted`;
  }

  #nameOf(at: Word): string {
    return this.#subject.nameOf?.(at) ?? `0x${at.toString(16)}`;
  }

  #value(kind: number, at: Word, lo = 0, hi = 0): string {
    if (!WIDE.has(kind)) return String(lo);
    return this.#subject.describe?.(at, lo, hi) ?? hex64(lo, hi);
  }
}

function hex64(lo: number, hi: number): string {
  return `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
}
