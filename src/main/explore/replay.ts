/** `faultline replay`: one schedule again, and what comes of it. */
import { Explorer } from '../../explore/explorer.ts';
import { RandomScheduler } from '../../explore/random.ts';
import { Replay, ReplayError } from '../../explore/replay.ts';
import { ScheduleError, parseSchedule, type Schedule } from '../../explore/schedule.ts';
import { PROFILES, type ProfileName } from '../../kvm/profile.ts';
import { readText, shippedLitmus, shippedWorkloads } from '../input-file.ts';
import type { ReplayResult } from '../result.ts';
import { UserError } from '../user-error.ts';
import { violationOf } from './explore.ts';
import { loadTarget, type Overrides, type Target } from './target.ts';

export interface ReplayOptions extends Overrides {
  /** Steps after which the execution counts as endless. */
  readonly longest: number;
  /** Seed of what comes after the schedule's end; null: nothing does. */
  readonly continueSeed: number | null;
}

/**
 * `workload` null: one of those that come with faultline.
 * @throws UserError if the text is no schedule, or one of something else.
 */
export function replaySchedule(
  text: string,
  workload: string | null,
  options: ReplayOptions,
): ReplayResult {
  const schedule = parsed(text);
  const target = targetOf(schedule, workload, options);
  const explorer = replayed(schedule, target, options);
  const violations = [...explorer.failures.values()].map((failure) =>
    violationOf(failure, target, schedule.seed, schedule.rests),
  );
  return {
    schema: 'faultline.replay/1',
    ok: violations.length === 0,
    workload: target.name,
    kvm: target.kvm,
    vcpus: target.vcpus,
    seed: schedule.seed,
    // Without an end of its own the execution was given up where the schedule ends.
    complete: explorer.abandoned === 0 || explorer.failures.has('livelock'),
    recordedSteps: schedule.agents.length,
    steps: explorer.steps,
    violations,
  };
}

/** The schedule, or that in a file: `@FILE`. */
function parsed(argument: string): Schedule {
  const text = argument.startsWith('@') ? readText(argument.slice(1)).trim() : argument;
  try {
    return parseSchedule(text);
  } catch (error) {
    if (error instanceof ScheduleError) throw new UserError(`SCHEDULE: ${error.message}`);
    throw error;
  }
}

function targetOf(schedule: Schedule, workload: string | null, overrides: Overrides): Target {
  if (workload === null) return shippedTarget(schedule.scenario, overrides);
  const target = loadTarget(workload, overrides);
  if (target.hash === schedule.scenario) return target;
  throw new UserError(
    `SCHEDULE: of scenario ${schedule.scenario}, but ${target.name} is ${target.hash}: the workload, a flag or faultline has changed`,
  );
}

/** The scenario that has a hash, of all that come with faultline, in every generation. */
function shippedTarget(hash: string, { vcpus, kvm, edits }: Overrides): Target {
  const profiles = kvm === undefined ? (Object.keys(PROFILES) as ProfileName[]) : [kvm];
  // Litmus files without a VM are of no generation.
  const each = [{ edits }, ...profiles.map((profile) => ({ vcpus, kvm: profile, edits }))];
  const all = [...shippedLitmus(), ...shippedWorkloads()].flatMap((name) =>
    each.map((overrides) => ({ name, overrides })),
  );
  for (const { name, overrides } of all) {
    const target = tried(name, overrides);
    if (target?.hash === hash) return target;
  }
  throw new UserError(`SCHEDULE: of no scenario that comes with faultline: name its workload`);
}

/** Null for what cannot be run like this. */
function tried(name: string, overrides: Overrides): Target | null {
  try {
    return loadTarget(name, overrides);
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

function replayed(
  schedule: Schedule,
  target: Target,
  { continueSeed, longest }: ReplayOptions,
): Explorer {
  const after = continueSeed === null ? null : new RandomScheduler(continueSeed);
  const limits = { schedules: 1, steps: Number.POSITIVE_INFINITY, stepsOfOne: longest };
  const explorer = new Explorer(
    target.subjectOf(schedule.seed, schedule.rests),
    new Replay(schedule, after),
    limits,
  );
  try {
    explorer.advance();
    return explorer;
  } catch (error) {
    if (error instanceof ReplayError) throw new UserError(`SCHEDULE: ${error.message}`);
    throw error;
  }
}
