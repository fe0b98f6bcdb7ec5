/** The command lines of `faultline explore`, `faultline merge` and `faultline replay`. */
import type { Command } from 'commander';
import { availableParallelism } from 'node:os';
import {
  WORKLOAD,
  editsOf,
  oneOf,
  profiles,
  seconds,
  secondsMax,
  seedMax,
  wholeNumber,
  withEdits,
  type EditFlags,
} from '../flags.ts';
import { JsonOutput } from '../json-output.ts';
import { exploreReport, replayReport } from '../report.ts';
import type { ExploreResult, ExploreViolation } from '../result.ts';
import type { Output } from '../run-options.ts';
import { StuckError, UserError } from '../user-error.ts';
import { vcpusMax } from '../workload/schema.ts';
import { workloadSource } from '../workload/source.ts';
import type { Budget, ExploreOptions, Shard, StrategyName } from './options.ts';
import type { Overrides } from './target.ts';

const strategies: readonly StrategyName[] = ['dpor', 'pct', 'random', 'bounded', 'brute-force'];
const countMax = 2 ** 48;
const depthMax = 100;
const workersMax = 1024;
const shardsMax = 1_000_000;
const secondsDefault = 60;
/** More than any execution has that comes with faultline. */
const LONGEST = 1_000_000;
/** What keeps an execution from its end is a verdict, too, but has an exit status of its own. */
const STUCK: ReadonlySet<string> = new Set(['deadlock', 'livelock', 'starved', 'step-limit']);

interface ExploreFlags extends Overrides, EditFlags, Partial<Budget> {
  readonly strategy: StrategyName;
  readonly seed: number;
  readonly depth: number;
  readonly preemptions: number;
  readonly longest: number;
  readonly workers?: number;
  readonly shard?: Shard;
  readonly checkpoint?: string;
  readonly resume?: boolean;
  readonly json?: string;
}

interface MergeFlags extends EditFlags {
  readonly json?: string;
}

interface ReplayFlags extends Overrides, EditFlags {
  readonly longest: number;
  readonly continue?: boolean;
  readonly seed: number;
  readonly json?: string;
}

type Done = (isOk: boolean) => void;

export function addExplore(program: Command, io: Output, done: Done): void {
  const command = program
    .command('explore')
    .description('look for the interleaving that breaks a workload, or show that there is none')
    .argument('<workload>', WORKLOAD);
  withScenarioFlags(command)
    .option(
      '--strategy <name>',
      `who decides: ${strategies.join(', ')}`,
      oneOf('--strategy', strategies),
      'dpor',
    )
    .option('--seed <n>', 'of all that is random', wholeNumber('--seed', 0, seedMax), 1)
    .option(
      '--depth <d>',
      'of pct: ordered steps that a bug needs',
      wholeNumber('--depth', 1, depthMax),
      3,
    )
    .option(
      '--preemptions <n>',
      'of bounded: at most so many',
      wholeNumber('--preemptions', 0, depthMax),
      2,
    )
    .option(
      '--schedules <n>',
      'at most so many executions',
      wholeNumber('--schedules', 1, countMax),
    )
    .option('--steps <n>', 'at most so many steps in all', wholeNumber('--steps', 1, countMax))
    .option(
      '--seconds <s>',
      `for so long; without any budget ${secondsDefault}`,
      seconds('--seconds', secondsMax),
    )
    .option('--memory <n>', 'until so many MiB are used', wholeNumber('--memory', 1, countMax))
    .option(
      '--workers <n>',
      'explore by so many threads; by default as many as there are cores',
      wholeNumber('--workers', 1, workersMax),
    )
    .option('--shard <i/n>', 'the i-th of n shares, for n machines; with --checkpoint', shardOf)
    .option('--checkpoint <file>', 'keep what is done in a file, for --resume and merge')
    .option('--resume', 'go on from what the checkpoint has')
    .option('--json <file>', 'write the result as JSON (- is standard output)')
    .action(async (workload: string, flags: ExploreFlags) =>
      done(await explore(workload, flags, io)),
    );
}

export function addReplay(program: Command, io: Output, done: Done): void {
  const command = program
    .command('replay')
    .description('run one schedule again')
    .argument('<schedule>', 'fl1:..., or @FILE')
    .argument('[workload]', `${WORKLOAD}; by default that of the latter which the schedule is of`);
  withScenarioFlags(command)
    .option('--continue', 'go on at random where the schedule ends')
    .option('--seed <n>', 'of what --continue does', wholeNumber('--seed', 0, seedMax), 1)
    .option('--json <file>', 'write the result as JSON (- is standard output)')
    .action(async (schedule: string, workload: string | undefined, flags: ReplayFlags) =>
      done(await replay(schedule, workload ?? null, flags, io)),
    );
}

function withScenarioFlags(command: Command): Command {
  return withEdits(command)
    .option(
      '--kvm <profile>',
      `the generation of the code under test: ${profiles.join(', ')}`,
      oneOf('--kvm', profiles),
    )
    .option(
      '--longest <n>',
      'steps after which one execution counts as endless',
      wholeNumber('--longest', 1, countMax),
      LONGEST,
    )
    .option(
      '-v, --vcpus <n>',
      "instead of the workload's number of vCPUs",
      wholeNumber('--vcpus', 1, vcpusMax),
    );
}

async function explore(workload: string, flags: ExploreFlags, io: Output): Promise<boolean> {
  const json = new JsonOutput(flags.json);
  checkTogether(flags);
  const options = { ...optionsOf(flags), edits: await editsIn(workload, flags) };
  const { perform } = await import('./tasks.ts');
  const result = await perform({ command: 'explore', workload, options }, io.signal);
  return tell(result, again(workload, flags), json, io);
}

export function addMerge(program: Command, io: Output, done: Done): void {
  const command = program
    .command('merge')
    .description('put together what the shards of an exploration found')
    .argument('<workload>', WORKLOAD)
    .argument('<checkpoints...>', 'what explore --shard --checkpoint wrote, of every shard');
  withEdits(command)
    .option('--json <file>', 'write the result as JSON (- is standard output)')
    .action(async (workload: string, files: readonly string[], flags: MergeFlags) => {
      const json = new JsonOutput(flags.json);
      const options = { edits: await editsIn(workload, flags) };
      const { perform } = await import('./tasks.ts');
      const result = await perform({ command: 'merge', workload, files, options });
      // A litmus without a VM has no generation, nor a number of vCPUs that could be asked for.
      const { kvm, vcpus } = result;
      const { longest } = result;
      const asked = { ...flags, longest, ...(kvm === null ? {} : { kvm, vcpus }) };
      done(tell(result, again(workload, asked), json, io));
    });
}

/** Those of the workload, then those of the flags. */
async function editsIn(workload: string | null, flags: EditFlags): Promise<Overrides['edits']> {
  return await editsOf(flags, workload === null ? null : workloadSource(workload).edited);
}

/** Flags that say which executions a scenario has. */
type Again = Overrides & EditFlags & { readonly longest: number };

/** Arguments of `replay` after the schedule: those by which the same scenario was meant. */
function again(workload: string | null, { kvm, vcpus, edit, longest }: Again): string {
  const words = [
    ...(workload === null ? [] : [workload]),
    ...(kvm === undefined ? [] : ['--kvm', kvm]),
    ...(vcpus === undefined ? [] : ['--vcpus', String(vcpus)]),
    ...edit.flatMap((file) => ['--edit', file]),
    ...(longest === LONGEST ? [] : ['--longest', String(longest)]),
  ];
  const quoted = words.map((word) => (/^[\w./-]+$/.test(word) ? word : `'${word}'`));
  return quoted.map((word) => ` ${word}`).join('');
}

function tell(result: ExploreResult, how: string, json: JsonOutput, io: Output): boolean {
  json.write(result, io);
  if (!json.isStdout) io.stdout.write(exploreReport(result, how));
  checkStuck(result.violations);
  return result.ok;
}

/** Reads `I/N`. */
function shardOf(text: string): Shard {
  const [index = '', of = '', ...more] = text.split('/');
  const read = wholeNumber('--shard', 1, shardsMax);
  const shard = { index: read(index), of: read(of) };
  if (more.length === 0 && shard.index <= shard.of) return shard;
  throw new UserError(`--shard: expected I/N with I from 1 to N, not ${JSON.stringify(text)}`);
}

/** Refuses flags that would mean nothing together. */
function checkTogether({ shard, checkpoint, resume, strategy }: ExploreFlags): void {
  if (shard !== undefined && checkpoint === undefined)
    throw new UserError('--shard: needs --checkpoint, which merge reads');
  if (resume === true && checkpoint === undefined)
    throw new UserError('--resume: needs --checkpoint');
  if (shard !== undefined && (strategy === 'bounded' || strategy === 'brute-force'))
    throw new UserError(`--shard: not with --strategy ${strategy}, which is not divided`);
}

function optionsOf(flags: ExploreFlags): ExploreOptions {
  const { schedules, steps, seconds: given, memory } = flags;
  const isEndless = schedules === undefined && steps === undefined;
  return {
    ...flags,
    schedules: schedules ?? Number.POSITIVE_INFINITY,
    steps: steps ?? Number.POSITIVE_INFINITY,
    seconds: given ?? (isEndless ? secondsDefault : Number.POSITIVE_INFINITY),
    memory: memory ?? Number.POSITIVE_INFINITY,
    workers: flags.workers ?? availableParallelism(),
    shard: flags.shard ?? { index: 1, of: 1 },
    checkpoint: flags.checkpoint ?? null,
    resume: flags.resume === true,
  };
}

async function replay(
  schedule: string,
  workload: string | null,
  flags: ReplayFlags,
  io: Output,
): Promise<boolean> {
  const json = new JsonOutput(flags.json);
  const continueSeed = flags.continue === true ? flags.seed : null;
  const { vcpus, kvm, longest } = flags;
  const edits = await editsIn(workload, flags);
  const options = { vcpus, kvm, longest, edits, continueSeed };
  const { perform } = await import('./tasks.ts');
  const result = await perform({ command: 'replay', schedule, workload, options }, io.signal);
  json.write(result, io);
  if (!json.isStdout) io.stdout.write(replayReport(result, again(workload, flags)));
  checkStuck(result.violations);
  return result.ok;
}

/** @throws StuckError if all that was found is executions that do not end. */
function checkStuck(violations: readonly ExploreViolation[]): void {
  const [first] = violations;
  if (first !== undefined && violations.every(({ verdict }) => STUCK.has(verdict)))
    throw new StuckError(`${first.verdict}: ${first.message}`);
}
