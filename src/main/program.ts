import { Command, CommanderError } from 'commander';
import { readFileSync } from 'node:fs';
import { addExplore, addMerge, addReplay } from './explore/commands.ts';
import { benchReport, runReport } from './report.ts';
import { DEFAULT_PROFILE, type ProfileName } from '../kvm/profile.ts';
import type { DumpFlags } from './dump/dump.ts';
import {
  WORKLOAD,
  editsOf,
  oneOf,
  profiles,
  secondsMax,
  seedMax,
  seconds,
  wholeNumber,
  withEdits,
  type EditFlags,
} from './flags.ts';
import { oneLine } from './input-file.ts';
import { JsonOutput } from './json-output.ts';
import { ProgressLine } from './progress.ts';
import type { Commands, Output, RunOptions } from './run-options.ts';
import { StuckError, UserError } from './user-error.ts';
import { welcome } from './welcome.ts';
import { loadEditedWorkload } from './workload/workload.ts';
import { vcpusMax } from './workload/schema.ts';

/** What the process returns; 130 is what shells use for a program that Ctrl-C ended. */
export const exitStatus = {
  passed: 0,
  violation: 1,
  usage: 2,
  stuck: 3,
  internal: 4,
  interrupted: 130,
} as const;

const seedsMax = 1_000_000;
const benchmarks = ['explore', 'fault', 'locks', 'pgtable', 'protocol', 'seam', 'traced'] as const;

interface RunFlags extends EditFlags {
  readonly kvm?: ProfileName;
  readonly vcpus?: number;
  readonly seconds?: number;
  readonly seed: number;
  readonly seeds: number;
  readonly engine: RunOptions['engine'];
  readonly port?: RunOptions['port'];
  readonly check?: boolean;
  readonly twin?: boolean;
  readonly json?: string;
}

/**
 * Runs one command line (without node and script) and resolves to the exit status. Writes only through `io`; never rejects.
 * `commands` is what does the work.
 */
export async function main(
  argv: readonly string[],
  io: Output,
  commands: Commands,
): Promise<number> {
  let status: number = exitStatus.passed;
  try {
    const program = buildProgram(io, commands, (isOk) => {
      status = isOk ? exitStatus.passed : exitStatus.violation;
    });
    if (argv.length === 0) {
      io.stderr.write(program.helpInformation());
      return exitStatus.usage;
    }
    await program.parseAsync(argv, { from: 'user' });
    return io.signal?.aborted ? interrupted(io) : status;
  } catch (error) {
    return io.signal?.aborted ? interrupted(io) : explain(error, io);
  }
}

function interrupted(io: Output): number {
  io.stderr.write('faultline: interrupted\n');
  return exitStatus.interrupted;
}

/** Says what went wrong on standard error, in one line unless it is a bug in us, and returns the exit status. */
function explain(error: unknown, io: Output): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitStatus.passed;
    // Help in the place of a command that does not exist: it has been shown.
    if (error.code === 'commander.help') return exitStatus.usage;
    io.stderr.write(
      `faultline: ${oneLine(error.message.replace(/^error: /u, '').replaceAll('\n', ' '))}\n`,
    );
    return exitStatus.usage;
  }
  if (error instanceof UserError || error instanceof StuckError) {
    io.stderr.write(`faultline: ${error.message.replaceAll(/\s*\n\s*/gu, ' ')}\n`);
    return error instanceof UserError ? exitStatus.usage : exitStatus.stuck;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  io.stderr.write(`faultline: internal error, a bug in faultline itself\n${stack}\n`);
  return exitStatus.internal;
}

function buildProgram(io: Output, commands: Commands, done: (isOk: boolean) => void): Command {
  const program = new Command('faultline')
    .description('A laboratory for the handling of stage-2 faults by many vCPUs at once.')
    .version(version())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Said once, by explain().
      outputError: () => undefined,
    });
  addRun(program, io, commands, done);
  addDump(program, io, commands, done);
  addExplore(program, io, done);
  addMerge(program, io, done);
  addReplay(program, io, done);
  addBench(program, io, commands);
  program
    .command('start')
    .description('a first run with an explanation, in seconds')
    .action(async () => done((await welcome(commands, io)).ok));
  return program;
}

function addRun(
  program: Command,
  io: Output,
  commands: Commands,
  done: (isOk: boolean) => void,
): void {
  const command = program
    .command('run')
    .description('run a workload and check what it left behind')
    .argument('<workload>', WORKLOAD);
  withEdits(withRunFlags(command))
    .option('--seconds <s>', 'repeat the rounds for so long', seconds('--seconds', secondsMax))
    .option(
      '--seeds <n>',
      'run so many seeds, from --seed on',
      wholeNumber('--seeds', 1, seedsMax),
      1,
    )
    .option(
      '--port <name>',
      'atomics of the threads: wasm (default), or js, the slower reference',
      oneOf('--port', ['wasm', 'js']),
    )
    .option(
      '--check',
      'check tables, TLBs and locks by the events of the threads, which then run slower; under explore they always are',
    )
    .option('--twin', 'change a second table by the code of the other generation, and compare')
    .option('--json <file>', 'write the result as JSON (- is standard output)')
    .addHelpText(
      'after',
      '\nExit status: 0 passed, 1 a violation was found, 2 usage or input, 3 stuck, 4 internal error.',
    )
    .action(async (workload: string, flags: RunFlags) =>
      done(await run(workload, flags, io, commands)),
    );
}

/** What every command that runs a workload once has. */
function withRunFlags(command: Command): Command {
  return command
    .option(
      '--kvm <profile>',
      `the generation of the code under test: ${profiles.join(', ')} (default: the workload's, or ${DEFAULT_PROFILE})`,
      oneOf('--kvm', profiles),
    )
    .option(
      '-v, --vcpus <n>',
      "instead of the workload's number of vCPUs",
      wholeNumber('--vcpus', 1, vcpusMax),
    )
    .option('--seed <n>', 'of all that is random', wholeNumber('--seed', 0, seedMax), 1)
    .option(
      '--engine <name>',
      'threads, or explore: one thread, every step decided by the seed',
      oneOf('--engine', ['threads', 'explore']),
      'threads',
    );
}

function addDump(
  program: Command,
  io: Output,
  commands: Commands,
  done: (isOk: boolean) => void,
): void {
  const command = program
    .command('dump')
    .description('print the stage-2 table that a workload leaves')
    .argument('[workload]', `${WORKLOAD}; none with --from`);
  withRunFlags(command)
    .option('--from <file>', 'the table of a document that dump --json wrote, instead of a run')
    .option(
      '--format <name>',
      'text, kernel (as Linux prints its own) or json',
      oneOf('--format', ['text', 'kernel', 'json']),
      'text',
    )
    .option('--json <file>', 'write the table as JSON (- is standard output)')
    .action(async (workload: string | undefined, flags: DumpFlags & { from?: string }) => {
      const { dumpFile, dumpRun } = await import('./dump/dump.ts');
      if (flags.from !== undefined) {
        checkFrom(workload, command);
        dumpFile(flags.from, flags, io);
      } else if (workload === undefined) {
        throw new UserError('WORKLOAD: missing, and there is no --from');
      } else {
        done(await dumpRun(workload, flags, io, commands));
      }
    });
}

/** A document is not run again. */
function checkFrom(workload: string | undefined, command: Command): void {
  if (workload !== undefined) throw new UserError('--from: not with a workload');
  for (const flag of ['kvm', 'vcpus', 'seed', 'engine']) {
    if (command.getOptionValueSource(flag) === 'cli') {
      throw new UserError(`--${flag}: not with --from, which runs nothing`);
    }
  }
}

function addBench(program: Command, io: Output, commands: Commands): void {
  program
    .command('bench')
    .description('measure this machine')
    .argument('[name]', `${benchmarks.join(', ')}; all without a name`, oneOf('NAME', benchmarks))
    .option('--json <file>', 'write the result as JSON (- is standard output)')
    .action(async (name: string | undefined, flags: { json?: string }) => {
      const json = new JsonOutput(flags.json);
      // Standard output is for the result: whatever a benchmark says on its way is progress.
      const document = await commands.bench(name === undefined ? benchmarks : [name], {
        ...io,
        stdout: io.stderr,
      });
      io.signal?.throwIfAborted();
      json.write(document, io);
      if (!json.isStdout) io.stdout.write(benchReport(document));
    });
}

async function run(
  workload: string,
  flags: RunFlags,
  io: Output,
  commands: Commands,
): Promise<boolean> {
  checkTogether(flags);
  const json = new JsonOutput(flags.json);
  const { scenario, edited } = loadEditedWorkload(workload, {
    vcpus: flags.vcpus,
    kvm: flags.kvm,
    twin: flags.twin,
    explore: flags.engine === 'explore',
  });
  if (flags.seconds !== undefined && scenario.rounds.length === 0) {
    throw new UserError('--seconds: the workload has no rounds that could be repeated');
  }
  const edits = await editsOf(flags, edited);
  const progress = new ProgressLine(io);
  try {
    const result = await commands.runWorkload(scenario, {
      engine: flags.engine,
      port: flags.check === true ? 'traced' : (flags.port ?? 'wasm'),
      seed: flags.seed,
      seeds: flags.seeds,
      seconds: flags.seconds ?? null,
      edits,
      origin: { workload, editFiles: flags.edit },
      signal: io.signal,
      onProgress: (state) => progress.update(state),
    });
    io.signal?.throwIfAborted();
    progress.clear();
    json.write(result, io);
    if (!json.isStdout) io.stdout.write(runReport(result));
    return result.ok;
  } finally {
    progress.clear();
  }
}

/** Refuses flags that would mean nothing together. */
function checkTogether(flags: RunFlags): void {
  if (flags.engine === 'explore' && flags.seconds !== undefined) {
    throw new UserError('--seconds: not with --engine explore, where no clock runs; use --seeds');
  }
  if (flags.engine === 'explore' && flags.port !== undefined) {
    throw new UserError('--port: not with --engine explore, which runs without threads');
  }
  if (flags.check === true && flags.port !== undefined) {
    throw new UserError(
      '--port: not with --check, whose threads record what they do on a port of their own',
    );
  }
  if (flags.seconds !== undefined && flags.seeds > 1) {
    throw new UserError('--seconds: not with --seeds, which already says how long to run');
  }
  if (flags.seed + flags.seeds - 1 > seedMax) {
    throw new UserError(`--seeds: ${flags.seeds} seeds from ${flags.seed} on go beyond ${seedMax}`);
  }
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
