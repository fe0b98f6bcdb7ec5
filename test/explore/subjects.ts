import { Order, attach, cas32, signal32, wait, type Op, type Word } from '#port';
import { Explorer, type Limits, type Stopped } from '../../src/explore/explorer.ts';
import type { Strategy } from '../../src/explore/strategy.ts';
import { findingsOf, type Finding, type Locks, type Subject } from '../../src/explore/subject.ts';
import { daemonOf } from '../support/executions.ts';
import { installBytes, installState, installThread } from '../../src/workers/install-litmus.ts';

const PAGE = 4096;

/** Agents A, B, C, ... on fresh memory of one page or more; a final state is what `state` says, by default the words below 256. */
export function subjectOf(
  programs: readonly (() => Op<void>)[],
  options: {
    readonly bytes?: number;
    readonly state?: () => string;
    readonly daemons?: readonly number[];
    /** Daemons that wait at the end. */
    readonly servers?: readonly number[];
    /** Words with a value at the beginning. */
    readonly initial?: readonly (readonly [at: Word, value: number])[];
    readonly locks?: Locks;
  } = {},
): Subject {
  const { bytes = PAGE, daemons = [], servers = [], initial = [], locks = 'steps' } = options;
  const buffer = new ArrayBuffer(Math.ceil(bytes / PAGE) * PAGE);
  const memory = attach({ memory: { buffer }, seed: 0, statistics: 0, stop: 0 });
  for (const [at, value] of initial) memory.words[at >>> 2] = value;
  memory.baseline();
  const { words } = memory;
  return {
    words,
    agents: programs.length,
    hasDaemons: daemons.length > 0,
    locks,
    begin: () => {
      memory.restore();
      return programs.map((start, id) => ({
        name: String.fromCodePoint(65 + id),
        statistics: 0,
        ...daemonOf(id, { daemons, servers }),
        start,
      }));
    },
    judge: (result) =>
      findingsOf(result).map((finding) => ({ ...finding, verdict: verdictOf(finding) })),
    finalState: options.state ?? (() => words.subarray(0, 64).join(' ')),
  };
}

/** The install litmus. */
export function installSubject(threads: number, faults: number): Subject {
  const litmus = { threads, faults };
  const programs = Array.from(
    { length: threads },
    (_, id) => () => installThread(id, [...Array(faults).keys()]),
  );
  return subjectOf(programs, { bytes: installBytes(litmus), state: () => installState(litmus) });
}

/** Errors are told apart by what they say. */
function verdictOf({ verdict, message }: Finding): string {
  return verdict === 'error' ? `error: ${message}` : verdict;
}

const UNLIMITED: Limits = { schedules: 5_000_000, steps: 1e9, stepsOfOne: 1000 };

/** Explores to the end. */
export function exploreAll(
  subject: Subject,
  strategyOf: (subject: Subject) => Strategy,
  limits: Partial<Limits> = {},
): { readonly explorer: Explorer; readonly stopped: Stopped } {
  const explorer = new Explorer(subject, strategyOf(subject), { ...UNLIMITED, ...limits });
  for (;;) {
    const stopped = explorer.advance();
    if (stopped !== null) return { explorer, stopped };
  }
}

/** What an exploration counted. */
export function countsOf({ explorer }: { readonly explorer: Explorer }): {
  readonly schedules: number;
  readonly traces: number;
  readonly finalStates: number;
} {
  const { schedules, traces, finalStates } = explorer;
  return { schedules, traces: traces.size, finalStates: finalStates.size };
}

/** Takes two locks and gives them back: a deadlock if another agent takes them the other way round. */
export function* lockBoth(first: Word, second: Word): Op<void> {
  for (const at of [first, second]) {
    while (!(yield* cas32(at, 0, 1, Order.acquire))) yield* wait(at, 1);
  }
  for (const at of [second, first]) yield* signal32(at, 0, Order.release);
}
