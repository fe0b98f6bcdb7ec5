/** `faultline merge`: what the shards of one exploration found, as if one machine had explored all of it. */
import { Tally } from '../../explore/tally.ts';
import { environment } from '../environment.ts';
import { displayName } from '../input-file.ts';
import type { ExploreResult } from '../result.ts';
import { UserError } from '../user-error.ts';
import { readCheckpoint, type Checkpoint } from './checkpoint.ts';
import { checkSame, resultOf } from './explore.ts';
import { isRandom } from './options.ts';
import type { End } from './part-runner.ts';
import { loadTarget, type Overrides } from './target.ts';

/** @throws UserError if a file is no checkpoint, or they are not of all shards of one exploration of the workload. */
export function mergeCheckpoints(
  workload: string,
  files: readonly string[],
  { edits }: Pick<Overrides, 'edits'>,
): ExploreResult {
  const before = environment();
  const all = files.map(readCheckpoint);
  const [first] = all as [Checkpoint];
  checkShards(files, all);
  const { identity } = first;
  const { vcpus, kvm, scenario } = identity;
  const target = loadTarget(workload, { ...(kvm === null ? {} : { vcpus, kvm }), edits });
  if (target.hash !== scenario)
    throw new UserError(
      `${displayName(files[0] as string)}: of scenario ${scenario}, but ${target.name} is ${target.hash}`,
    );
  const tally = new Tally();
  for (const checkpoint of all) tally.add(checkpoint.tally);
  const surveyed = { tally, bound: first.bound, stopped: endOf(all) };
  return { ...resultOf(target, identity, surveyed), seconds: 0, environment: before };
}

/** All of one exploration, and every shard once. */
function checkShards(files: readonly string[], all: readonly Checkpoint[]): void {
  const [{ identity, shard }] = all as [Checkpoint];
  const found = new Set<number>();
  for (const [i, other] of all.entries()) {
    const file = displayName(files[i] as string);
    checkSame(file, identity, other.identity);
    const { index, of } = other.shard;
    if (of !== shard.of) throw new UserError(`${file}: of ${of} shards, not ${shard.of}`);
    if (found.has(index)) throw new UserError(`${file}: shard ${index}/${of} a second time`);
    found.add(index);
  }
  for (let index = 1; index <= shard.of; index++)
    if (!found.has(index)) throw new UserError(`merge: shard ${index}/${shard.of} is missing`);
}

/** Parts that are not done were given up for some budget; which one is not known any more. */
function endOf(all: readonly Checkpoint[]): End | 'unfinished' {
  const [{ identity }] = all as [Checkpoint];
  const done = all.reduce((sum, checkpoint) => sum + checkpoint.done.size, 0);
  if (done !== identity.parts) return 'unfinished';
  return isRandom(identity.strategy) ? 'schedules' : 'exhausted';
}
