/**
 * What an exploration has done so far, as a file: to go on from after an interruption, and to be merged with those of other machines. It
 * is written whole under another name and then renamed, so that there is always one that is whole.
 */
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { parseSchedule, formatSchedule } from '../../explore/schedule.ts';
import { Tally } from '../../explore/tally.ts';
import type { Failure } from '../../explore/failure.ts';
import type { ProfileName } from '../../kvm/profile.ts';
import { displayName, oneLine, readBytes } from '../input-file.ts';
import { UserError } from '../user-error.ts';
import type { Shard, StrategyOptions } from './options.ts';
import type { Progress } from './survey.ts';
import type { Target } from './target.ts';

const SCHEMA = 'faultline.checkpoint/1';

/** What has to be the same for two checkpoints to be of one exploration. */
export interface Identity extends StrategyOptions {
  readonly workload: string;
  readonly kvm: ProfileName | null;
  readonly vcpus: number;
  /** The scenario's hash. */
  readonly scenario: string;
  /** All of its parts, those of other shards included; null: without end. */
  readonly parts: number | null;
  /** Schedules that were asked for, of which a random exploration's parts are made; null: without end, or of no matter. */
  readonly schedules: number | null;
}

export interface Checkpoint extends Progress {
  readonly identity: Identity;
  readonly shard: Shard;
}

interface Document {
  readonly schema: string;
  readonly identity: Identity;
  readonly shard: Shard;
  readonly bound: string;
  readonly done: readonly number[];
  readonly counts: Pick<Tally, 'schedules' | 'abandoned' | 'steps' | 'preemptions' | 'endless'>;
  readonly traces: readonly (readonly [trace: number, times: number])[];
  readonly finalStates: readonly string[];
  readonly failures: readonly (Omit<Failure, 'schedule'> & { readonly schedule: string })[];
}

export function identityOf(
  { name, kvm, vcpus, hash }: Target,
  options: StrategyOptions,
  parts: number,
  schedules: number | null,
): Identity {
  const { strategy, seed, depth, preemptions, longest } = options;
  return {
    workload: name,
    kvm,
    vcpus,
    scenario: hash,
    strategy,
    seed,
    depth,
    preemptions,
    longest,
    parts: Number.isFinite(parts) ? parts : null,
    schedules,
  };
}

/** @throws UserError if the file cannot be written. */
export function writeCheckpoint(file: string, checkpoint: Checkpoint): void {
  const text = JSON.stringify(documentOf(checkpoint));
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${text}\n${sumOf(text)}\n`);
    renameSync(temporary, file);
  } catch (error) {
    throw new UserError(`--checkpoint: ${oneLine(file)}: ${oneLine((error as Error).message)}`);
  }
}

/** @throws UserError if it is no checkpoint, or not a whole one. */
export function readCheckpoint(file: string): Checkpoint {
  const name = displayName(file);
  const [text = '', sum, ...more] = readBytes(file).toString('utf8').split('\n');
  if (!text.startsWith(`{"schema":"${SCHEMA}"`)) throw new UserError(`${name}: no checkpoint`);
  if (sum !== sumOf(text) || more.length !== 1)
    throw new UserError(`${name}: a checkpoint that is cut off or damaged`);
  return checkpointOf(JSON.parse(text) as Document);
}

function documentOf({ identity, shard, bound, done, tally }: Checkpoint): Document {
  const { schedules, abandoned, steps, preemptions, endless } = tally;
  const { scenario, seed } = identity;
  return {
    schema: SCHEMA,
    identity,
    shard,
    bound,
    done: [...done],
    counts: { schedules, abandoned, steps, preemptions, endless },
    traces: [...tally.traces],
    finalStates: [...tally.finalStates],
    failures: [...tally.failures.values()].map((failure) => ({
      ...failure,
      schedule: formatSchedule({ scenario, seed, ...failure.schedule, rests: [] }),
    })),
  };
}

function checkpointOf(document: Document): Checkpoint {
  const { identity, shard, bound, done, counts, traces, finalStates } = document;
  const tally = new Tally();
  const failures = document.failures.map((failure): [string, Failure] => [
    failure.verdict,
    { ...failure, schedule: parseSchedule(failure.schedule) },
  ]);
  tally.add({
    ...counts,
    traces: new Map(traces),
    finalStates: new Set(finalStates),
    failures: new Map(failures),
  });
  return { identity, shard, bound, done: new Set(done), tally };
}

function sumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
