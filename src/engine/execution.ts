/**
 * One execution under `explore`: agents as generators in one thread, a scheduler that says at every atomic operation who
 * goes on, and the set of agents that can.
 *
 * A *step* is: one agent performs the operation it has pending and goes on to its next one. The port asks `reach` before
 * each operation; only a switch costs a `yield`.
 *
 * Goals: deterministic (the scheduler is the only choice), deadlocks seen exactly, budget checked at every step.
 * Non-goals: weak memory; preemption inside plain code.
 */
import { RECORD, type EventKind, type EventSink } from './events.ts';
import type { Op, Word } from './port.ts';

/** The operation an agent will perform at its next step. */
export interface Pending {
  readonly kind: EventKind;
  readonly at: Word;
  /**
   * What decides about its effect: the value expected (`cas32`, its low half for `cas64`), the value seen (`wait`, `retryWhen`), bits
   * (`or32`), what is added (`add32`), bytes (`fill`), the source (`copy`), alternatives (`choose`); 0 for others.
   */
  readonly a: number;
  /** The high half expected (`cas64`), bytes (`copy`), bits that the caller looks at (`add32`, `or32`); 0 for others. */
  readonly b: number;
  /** Bits that keep the caller waiting if one was set (`add32` on a lock); 0 for others. */
  readonly busy: number;
}

/** What a scheduler may look at. */
export interface ExecutionView {
  /** Agents that can take a step, ascending; never empty. */
  readonly runnable: readonly number[];
  /** Who took the last step; -1 before the first. */
  readonly current: number;
  /** Steps taken so far. */
  readonly steps: number;
  pending(agent: number): Pending;
}

/** What a scheduler answers to end an execution that it has no more use for. */
export const ABANDON = -1;

/** Decides who runs. Its decisions and the program determine the execution. */
export interface Scheduler {
  /** One of `view.runnable`, or {@link ABANDON}. */
  next(view: ExecutionView): number;
  /** A number in 0..n-1: the port's `choose`. */
  choose(n: number): number;
}

/** How an execution ended. */
export type ExecutionResult =
  | { readonly outcome: 'completed'; readonly steps: number }
  | { readonly outcome: 'abandoned'; readonly steps: number; readonly detail: string }
  | { readonly outcome: 'deadlock'; readonly steps: number; readonly detail: string }
  | { readonly outcome: 'stepsExceeded'; readonly steps: number; readonly detail: string }
  | {
      readonly outcome: 'threw';
      readonly steps: number;
      readonly detail: string;
      readonly error: unknown;
    };

/**
 * Where a daemon may be when an execution ends: `anywhere`, in the middle of its work; `waiting`, as it serves the others: the execution goes
 * on until it has nothing to do.
 */
export type DaemonEnd = 'anywhere' | 'waiting';

/** An agent to be run. */
export interface AgentSpec {
  readonly name: string;
  /** Byte offset of the agent's statistics block. */
  readonly statistics: Word;
  /** What does not count against deadlock. */
  readonly daemon?: DaemonEnd;
  readonly start: () => Op<void>;
}

type AgentState = 'runnable' | 'waiting' | 'retrying' | 'finished';

class Agent implements Pending {
  readonly spec: AgentSpec;
  readonly op: Op<void>;
  state: AgentState = 'runnable';
  kind: EventKind = 0 as EventKind;
  at: Word = 0;
  a = 0;
  b = 0;
  busy = 0;
  high = 0;

  constructor(spec: AgentSpec) {
    this.spec = spec;
    this.op = spec.start();
  }
}

class StepsExceeded extends Error {}
class Abandoned extends Error {}

export class Execution implements ExecutionView {
  readonly #agents: Agent[];
  readonly #scheduler: Scheduler;
  readonly #sinks: readonly EventSink[];
  readonly #stepsMax: number;
  readonly #record = new Int32Array(RECORD.words);
  readonly #runnable: number[] = [];
  #parked = 0;
  /** Agents that keep the execution from its end. */
  #unfinished = 0;
  #starting = true;
  #next = -1;
  current = -1;
  steps = 0;

  constructor(options: {
    readonly agents: readonly AgentSpec[];
    readonly scheduler: Scheduler;
    readonly stepsMax: number;
    readonly sinks?: readonly EventSink[];
  }) {
    this.#agents = options.agents.map((spec) => new Agent(spec));
    this.#scheduler = options.scheduler;
    this.#sinks = options.sinks ?? [];
    this.#stepsMax = options.stepsMax;
    this.#agents.forEach((agent, id) => {
      this.#runnable.push(id);
      if (agent.spec.daemon !== 'anywhere') this.#unfinished++;
    });
  }

  get runnable(): readonly number[] {
    return this.#runnable;
  }

  pending(agent: number): Pending {
    return this.#agent(agent);
  }

  /** Byte offset of the statistics block of the agent that runs. */
  get statistics(): Word {
    return this.#agent(this.current).spec.statistics;
  }

  get high(): number {
    return this.#agent(this.current).high;
  }

  set high(value: number) {
    this.#agent(this.current).high = value;
  }

  /** Runs to the end. The generators of an abandoned execution are dropped, never returned into. */
  run(): ExecutionResult {
    try {
      this.#bringToFirstOperation();
      while (this.#unfinished > 0) {
        if (this.#runnable.length === 0) return this.#deadlock();
        if (this.#next < 0) this.#next = this.#pick();
        this.#resume(this.#next);
      }
      return { outcome: 'completed', steps: this.steps };
    } catch (error) {
      if (error instanceof StepsExceeded) {
        return { outcome: 'stepsExceeded', steps: this.steps, detail: error.message };
      }
      if (error instanceof Abandoned) {
        return { outcome: 'abandoned', steps: this.steps, detail: 'given up by the scheduler' };
      }
      const name = this.current < 0 ? 'scheduler' : this.#agent(this.current).spec.name;
      const message = error instanceof Error ? error.message : String(error);
      return { outcome: 'threw', steps: this.steps, detail: `${name}: ${message}`, error };
    }
  }

  /** Called by the port before each atomic operation of the running agent: true if it must yield first. */
  reach(kind: EventKind, at: Word, a = 0, b = 0, busy = 0): boolean {
    const agent = this.#agent(this.current);
    agent.kind = kind;
    agent.at = at;
    agent.a = a;
    agent.b = b;
    agent.busy = busy;
    if (this.#starting) return true;
    const next = this.#pick();
    if (next === this.current) return false;
    this.#next = next;
    return true;
  }

  /** Takes the running agent off the runnable set until the word it reached is written (`waiting`) or differs (`retrying`). */
  park(state: 'waiting' | 'retrying'): void {
    const agent = this.#agent(this.current);
    agent.state = state;
    this.#parked++;
    if (agent.spec.daemon === 'waiting') this.#unfinished--;
    this.#runnable.splice(this.#runnable.indexOf(this.current), 1);
  }

  /**
   * Called by the port after each write: lets those go on who wait for this word.
   * @throws Error if a waitable word with a waiter was written without a signal: on threads that waiter would sleep on.
   */
  written(at: Word, value: number, signalled: boolean): void {
    if (this.#parked === 0) return;
    this.#agents.forEach((agent, id) => {
      if (agent.at !== at) return;
      if (agent.state === 'waiting') {
        if (!signalled)
          throw new Error(
            `word ${at} has a waiter (${agent.spec.name}) and was written without a signal`,
          );
        this.#unpark(id);
      } else if (agent.state === 'retrying' && value !== agent.a) this.#unpark(id);
    });
  }

  /** The same after a fill or a copy: `words` is the memory, of which a range is new. */
  rewritten(at: Word, bytes: number, words: Int32Array): void {
    if (this.#parked === 0) return;
    for (const agent of this.#agents) {
      const isInside = agent.at >= at && agent.at < at + bytes;
      if (isInside) this.written(agent.at, words[agent.at >>> 2] as number, false);
    }
  }

  choose(n: number): number {
    return this.#scheduler.choose(n);
  }

  /** Hands one event to the sinks. */
  record(
    kind: EventKind,
    at: Word,
    oldLo: number,
    oldHi: number,
    newLo: number,
    newHi: number,
    extra: number,
  ): void {
    const record = this.#record;
    record[RECORD.sequence] = (record[RECORD.sequence] as number) + 1;
    record[RECORD.agentAndKind] = (this.current << 16) | kind;
    record[RECORD.location] = at;
    record[RECORD.oldLo] = oldLo;
    record[RECORD.oldHi] = oldHi;
    record[RECORD.newLo] = newLo;
    record[RECORD.newHi] = newHi;
    record[RECORD.extra] = extra;
    for (const sink of this.#sinks) sink.onEvent(record);
  }

  #bringToFirstOperation(): void {
    for (let id = 0; id < this.#agents.length; id++) this.#resume(id);
    this.#starting = false;
    this.current = -1;
  }

  #resume(id: number): void {
    this.#next = -1;
    this.current = id;
    const agent = this.#agent(id);
    if (agent.op.next().done === true) this.#finish(id, agent);
  }

  #finish(id: number, agent: Agent): void {
    agent.state = 'finished';
    this.#runnable.splice(this.#runnable.indexOf(id), 1);
    if (agent.spec.daemon !== 'anywhere') this.#unfinished--;
  }

  #pick(): number {
    if (this.steps >= this.#stepsMax)
      throw new StepsExceeded(`no end after ${this.#stepsMax} steps`);
    const next = this.#scheduler.next(this);
    if (next === ABANDON) throw new Abandoned();
    if (this.#agents[next]?.state !== 'runnable')
      throw new Error(`the scheduler picked agent ${next}, which cannot run`);
    this.steps++;
    return next;
  }

  #unpark(id: number): void {
    const agent = this.#agent(id);
    agent.state = 'runnable';
    this.#parked--;
    if (agent.spec.daemon === 'waiting') this.#unfinished++;
    this.#runnable.push(id);
    this.#runnable.sort((a, b) => a - b);
  }

  #deadlock(): ExecutionResult {
    const stuck = this.#agents
      .filter((agent) => agent.state === 'waiting' || agent.state === 'retrying')
      .map((agent) => `${agent.spec.name} ${agent.state} on word ${agent.at}`);
    return { outcome: 'deadlock', steps: this.steps, detail: stuck.join('; ') };
  }

  #agent(id: number): Agent {
    return this.#agents[id] as Agent;
  }
}
