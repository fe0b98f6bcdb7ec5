/** `faultline explore`: a strategy on a workload until it comes to its end or a budget is spent. */
import type { Failure } from '../../explore/failure.ts';
import { minimise } from '../../explore/minimise.ts';
import { reduce } from '../../explore/reduce.ts';
import type { Remainder } from '../../explore/remainder.ts';
import { formatSchedule } from '../../explore/schedule.ts';
import { timelineOf } from '../../explore/timeline.ts';
import type { Subject } from '../../explore/subject.ts';
import { Tally } from '../../explore/tally.ts';
import { environment } from '../environment.ts';
import type { ExploreResult, ExploreViolation } from '../result.ts';
import { UserError } from '../user-error.ts';
import {
  identityOf,
  readCheckpoint,
  writeCheckpoint,
  type Checkpoint,
  type Identity,
} from './checkpoint.ts';
import { ThisThread, WorkerThreads, type Crew } from './crew.ts';
import { isExhaustive, isRandom, type ExploreOptions, type StrategyOptions } from './options.ts';
import { explorePart, nowMs, type PartReport } from './part-runner.ts';
import { isDivisible, partsOf, undivided, type Parts } from './parts.ts';
import { leftOf } from './reduced.ts';
import { Survey } from './survey.ts';
import { loadTarget, type Target } from './target.ts';

/** What making one schedule simpler may spend. */
const MINIMISE = { schedules: 500, steps: 200_000 };
/** What making its program smaller may spend. */
const REDUCE = { schedules: 500, steps: 600_000, searches: 10 };
/** An exploration that is over within so many executions is not divided. */
const UNDIVIDED_MAX = 2000;
/** Parts for each worker, at least: below that starting it costs more than it saves. */
const PARTS_OF_WORKER_MIN = 4;
/** Milliseconds between two checkpoints. */
const CHECKPOINT_MS = 1000;

/** What an exploration came to. */
export interface Surveyed {
  readonly tally: Tally;
  readonly bound: string;
  readonly stopped: ExploreResult['stopped'];
}

/** @throws UserError about the workload, a flag or the checkpoint. */
export async function exploreWorkload(
  workload: string,
  options: ExploreOptions,
  signal: AbortSignal | undefined,
): Promise<ExploreResult> {
  const target = loadTarget(workload, options);
  const since = nowMs();
  const before = environment();
  const subject = target.subjectOf(options.seed);
  const surveyed = await survey(workload, target, subject, options, signal);
  const seconds = (nowMs() - since) / 1000;
  return { ...resultOf(target, options, surveyed), seconds, environment: before };
}

/** The result, without how long it took. */
export function resultOf(
  target: Target,
  { strategy, seed, longest }: StrategyOptions,
  { tally, bound, stopped }: Surveyed,
): Omit<ExploreResult, 'seconds' | 'environment'> {
  const { name, kvm, vcpus } = target;
  return {
    schema: 'faultline.explore/1',
    ok: tally.failures.size === 0,
    workload: name,
    kvm,
    vcpus,
    seed,
    strategy,
    longest,
    bound,
    exhaustive: stopped === 'exhausted' && tally.endless === 0 && isExhaustive(strategy),
    stopped,
    schedules: tally.schedules,
    abandoned: tally.abandoned,
    traces: tally.traces.size,
    unseen: isRandom(strategy) ? tally.unseen : null,
    finalStates: tally.finalStates.size,
    steps: tally.steps,
    preemptions: tally.preemptions,
    violations: [...tally.failures.values()].map((failure) =>
      simplest(target, failure, seed, longest),
    ),
  };
}

async function survey(
  workload: string,
  target: Target,
  subject: Subject,
  options: ExploreOptions,
  signal: AbortSignal | undefined,
): Promise<Surveyed> {
  const endMs = nowMs() + options.seconds * 1000;
  if (options.checkpoint !== null) {
    const parts = partsOf(options, subject);
    const checkpoint = checkpointOf(target, options, parts.count);
    return await inParts(workload, subject, options, parts, checkpoint, endMs, signal);
  }
  const first = await undividedReport(subject, options, endMs, signal);
  const isOver =
    first !== null && (first.stopped !== 'schedules' || first.tally.schedules >= options.schedules);
  const tally = new Tally();
  if (first !== null && isOver) {
    tally.add(first.tally);
    return { tally, bound: first.bound, stopped: first.stopped };
  }
  const parts = partsOf(options, subject);
  const fresh = freshCheckpoint(target, options, parts.count);
  const surveyed = await inParts(workload, subject, options, parts, fresh, endMs, signal);
  // What was found on the way must not be lost if the parts end at a budget.
  for (const failure of first?.tally.failures.values() ?? [])
    if (!surveyed.tally.failures.has(failure.verdict)) surveyed.tally.addFailure(failure);
  return surveyed;
}

/** Null where it would be a waste: parts come in order, one after the other. */
async function undividedReport(
  subject: Subject,
  options: ExploreOptions,
  endMs: number,
  signal: AbortSignal | undefined,
): Promise<PartReport | null> {
  if (isRandom(options.strategy)) return null;
  const { strategy, schedules, steps, memory } = options;
  const most = isDivisible(strategy) ? UNDIVIDED_MAX : Number.POSITIVE_INFINITY;
  const part = undivided(options);
  const task = { part, schedules: Math.min(schedules, most), steps, memory, endMs };
  return await explorePart(subject, options, task, signal);
}

async function inParts(
  workload: string,
  subject: Subject,
  options: ExploreOptions,
  parts: Parts,
  checkpoint: Checkpoint,
  endMs: number,
  signal: AbortSignal | undefined,
): Promise<Surveyed> {
  const saver = new Saver(options.checkpoint, checkpoint);
  // One that cannot be written is found out now.
  saver.write();
  const crew = crewOf(workload, subject, options, parts.count, signal);
  const all = new Survey(checkpoint, options, endMs, () => saver.save());
  try {
    const stopped = await all.run(parts, options.shard, crew);
    const isAsked = stopped === 'exhausted' && isRandom(options.strategy);
    return { tally: all.tally, bound: checkpoint.bound, stopped: isAsked ? 'schedules' : stopped };
  } finally {
    await crew.close();
    saver.write();
  }
}

function crewOf(
  workload: string,
  subject: Subject,
  options: ExploreOptions,
  parts: number,
  signal: AbortSignal | undefined,
): Crew {
  const ofShard = parts / options.shard.of;
  const size = Math.min(options.workers, Math.floor(ofShard / PARTS_OF_WORKER_MIN));
  if (size <= 1) return new ThisThread(subject, options, signal);
  const { strategy, seed, depth, preemptions, longest, vcpus, kvm, edits } = options;
  const common = { strategy, seed, depth, preemptions, longest, vcpus, kvm, edits };
  return new WorkerThreads(size, { workload, options: common }, signal);
}

/** Writes the checkpoint, if there is to be one, not too often. */
class Saver {
  readonly #file: string | null;
  readonly #checkpoint: Checkpoint;
  #lastMs = nowMs();

  constructor(file: string | null, checkpoint: Checkpoint) {
    this.#file = file;
    this.#checkpoint = checkpoint;
  }

  save(): void {
    if (nowMs() - this.#lastMs < CHECKPOINT_MS) return;
    this.write();
    this.#lastMs = nowMs();
  }

  write(): void {
    if (this.#file !== null) writeCheckpoint(this.#file, this.#checkpoint);
  }
}

/** What the file has, if it is to be resumed. */
function checkpointOf(target: Target, options: ExploreOptions, parts: number): Checkpoint {
  const fresh = freshCheckpoint(target, options, parts);
  const { checkpoint: file, resume } = options;
  if (file === null || !resume) return fresh;
  const found = readCheckpoint(file);
  checkSame(file, fresh.identity, found.identity);
  const { index, of } = found.shard;
  if (index !== options.shard.index || of !== options.shard.of)
    throw new UserError(`${file}: of shard ${index}/${of}`);
  return found;
}

function freshCheckpoint(target: Target, options: ExploreOptions, parts: number): Checkpoint {
  const { schedules, strategy, shard } = options;
  // What a random exploration is asked for decides what its parts are.
  const asked = isRandom(strategy) && Number.isFinite(schedules) ? schedules : null;
  const identity = identityOf(target, options, parts, asked);
  return { identity, shard, bound: '', done: new Set(), tally: new Tally() };
}

/** @throws UserError naming what differs between two explorations. */
export function checkSame(file: string, one: Identity, other: Identity): void {
  for (const key of Object.keys(one) as (keyof Identity)[]) {
    if (one[key] !== other[key])
      throw new UserError(
        `${file}: of another exploration: ${key} ${String(other[key])}, not ${String(one[key])}`,
      );
  }
}

/** A failure of few preemptions and operations, and what happens in it. Each subject is made when it is explored: the last one is. */
function simplest(
  target: Target,
  failure: Failure,
  seed: number,
  stepsOfOne: number,
): ExploreViolation {
  const limits = { ...MINIMISE, stepsOfOne };
  const simple = minimise(target.subjectOf(seed), failure, limits);
  const whole = {
    programs: target.programsOf(seed),
    subjectOf: (rests: readonly Remainder[]) => target.subjectOf(seed, rests),
  };
  const reduced = reduce(whole, simple, REDUCE);
  const subject = target.subjectOf(seed, reduced.rests);
  const simpler = minimise(subject, reduced.failure, limits);
  const timeline = timelineOf(subject, simpler.schedule);
  return { ...violationOf(simpler, target, seed, reduced.rests), timeline };
}

/** A failure with the schedule that shows it again; `rests`: what is left of programs that are not whole. */
export function violationOf(
  failure: Failure,
  { hash, programsOf, agentName }: Target,
  seed: number,
  rests: readonly Remainder[],
): ExploreViolation {
  const { verdict, message, schedule, preemptions, times } = failure;
  const { agents, choices } = schedule;
  return {
    verdict,
    message,
    schedule: formatSchedule({ scenario: hash, seed, agents, choices, rests }),
    steps: agents.length,
    preemptions,
    times,
    program: leftOf(programsOf(seed), rests, agentName),
  };
}
