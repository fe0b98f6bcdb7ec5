/**
 * What the worker thread does that checks a run on threads: it drains the trace of one seed after another into the same checkers as under
 * `explore`. Ordinary code, on the port of `explore`, which it uses to read how the run begins; it is never edited.
 */
import { TraceReader } from '../engine/trace-ring.ts';
import type { Scenario } from '../workers/scenario.ts';
import { threadMemory } from '../workers/thread-memory.ts';
import { EventCheckers, type EventFinding } from './event-checkers.ts';
import { joinSharedWorld } from './shared-world.ts';

/** The scenario is the same for all seeds of a thread, and each seed begins with the same memory. */
export interface CheckTask {
  readonly scenario: Scenario;
  readonly ring: SharedArrayBuffer;
}

export interface CheckReport {
  readonly events: number;
  /** Of the events. */
  readonly findings: readonly EventFinding[];
  /** Those, and what shows at the end of a run that completed. */
  readonly findingsAtEnd: readonly EventFinding[];
}

let checkers: EventCheckers | null = null;

/** No agent has made an access: each waits for room in the ring. */
export default function checkTrace({ scenario, ring }: CheckTask): CheckReport {
  checkers ??= new EventCheckers(joinSharedWorld(scenario, threadMemory()));
  checkers.reset();
  const events = new TraceReader(ring).drain(checkers.sinks);
  const { findings } = checkers;
  checkers.finish();
  return { events, findings, findingsAtEnd: checkers.findings };
}
