import { Order, attach, explore, signalAdd32, type Op, type Word } from '#port';
import { EventKind, RECORD, type EventSink } from '../../src/engine/events.ts';
import {
  Execution,
  type AgentSpec,
  type ExecutionResult,
  type Scheduler,
} from '../../src/engine/execution.ts';
import type { ExploreMemory } from '../../src/engine/explore-memory.ts';

/** Bytes of an agent's statistics block in a sandbox; they lie one after the other from `STATISTICS`. */
export const BLOCK_BYTES = 0x4000;
export const STATISTICS: Word = 0x8000;

/** Attaches fresh, zeroed memory; agents may use words below {@link STATISTICS}. */
export function sandbox(): ExploreMemory {
  const memory = { buffer: new ArrayBuffer(STATISTICS + 8 * BLOCK_BYTES) };
  return attach({ memory, seed: 0, statistics: STATISTICS + 7 * BLOCK_BYTES, stop: 0 });
}

/** Runs agents named A, B, C, ... on the attached memory. */
export function execute(options: {
  readonly agents: readonly (() => Op<void>)[];
  readonly scheduler: Scheduler;
  readonly stepsMax?: number;
  readonly sinks?: readonly EventSink[];
  /** Agents that are daemons, and may be anywhere at the end. */
  readonly daemons?: readonly number[];
  /** Agents that are daemons, and wait at the end. */
  readonly servers?: readonly number[];
}): ExecutionResult {
  const agents = options.agents.map((start, id) => ({
    name: String.fromCodePoint(65 + id),
    statistics: STATISTICS + id * BLOCK_BYTES,
    ...daemonOf(id, options),
    start,
  }));
  const { scheduler, stepsMax = 10_000, sinks = [] } = options;
  return explore(new Execution({ agents, scheduler, stepsMax, sinks }));
}

/** What an agent is, by lists of daemons that may be anywhere at the end and of such that wait. */
export function daemonOf(
  id: number,
  lists: { readonly daemons?: readonly number[]; readonly servers?: readonly number[] },
): Pick<AgentSpec, 'daemon'> {
  if (lists.daemons?.includes(id)) return { daemon: 'anywhere' };
  return lists.servers?.includes(id) ? { daemon: 'waiting' } : {};
}

/** One event, decoded. */
export interface Recorded {
  readonly sequence: number;
  readonly agent: number;
  readonly kind: string;
  readonly at: Word;
  readonly old: readonly [lo: number, hi: number];
  readonly now: readonly [lo: number, hi: number];
  readonly extra: number;
}

const KINDS = new Map<number, string>(
  Object.entries(EventKind).map(([name, kind]) => [kind, name]),
);

/** Keeps every event. */
export class Recorder implements EventSink {
  readonly events: Recorded[] = [];

  onEvent(record: Int32Array): void {
    const field = (index: number): number => record[index] as number;
    const agentAndKind = field(RECORD.agentAndKind);
    this.events.push({
      sequence: field(RECORD.sequence),
      agent: agentAndKind >> 16,
      kind: KINDS.get(agentAndKind & 0xffff) ?? 'unknown',
      at: field(RECORD.location),
      old: [field(RECORD.oldLo), field(RECORD.oldHi)],
      now: [field(RECORD.newLo), field(RECORD.newHi)],
      extra: field(RECORD.extra),
    });
  }

  /** One text per event, as `A add32 64: 0 -> 1`: agent, operation, word, low halves before and after. */
  lines(): string[] {
    return this.events.map(({ agent, kind, at, old, now }) => {
      const name = String.fromCodePoint(65 + agent);
      return `${name} ${kind} ${at}: ${old[0]} -> ${now[0]}`;
    });
  }

  /** Agents of the events of one kind, in order. */
  agentsOf(kind: keyof typeof EventKind): number[] {
    return this.events.filter((event) => event.kind === kind).map(({ agent }) => agent);
  }
}

/** What an execution did and how it ended. */
export interface Played {
  readonly recorder: Recorder;
  readonly result: ExecutionResult;
}

/** Runs agents and keeps every event. */
export function play(agents: readonly (() => Op<void>)[], scheduler: Scheduler): Played {
  const recorder = new Recorder();
  const result = execute({ agents, scheduler, sinks: [recorder] });
  return { recorder, result };
}

/** An agent that wakes whoever waits on these words, again and again and for nothing: a wait may return spuriously. */
export function* disturb(words: readonly Word[]): Op<void> {
  for (let round = 0; round < 4; round++) {
    for (const word of words) yield* signalAdd32(word, 0, Order.once);
  }
}
