/** `faultline dump`: a stage-2 table, from a run or a document, in one of three forms. */
import { readDump } from './document.ts';
import { kernelDump } from './kernel.ts';
import { documentOf, takeSnapshot, type Snapshot } from './snapshot.ts';
import { textDump } from './text.ts';
import { JsonOutput } from '../json-output.ts';
import { ProgressLine } from '../progress.ts';
import type { RunResult } from '../result.ts';
import type { Commands, Output, RunOptions } from '../run-options.ts';
import { loadWorkload } from '../workload/workload.ts';
import type { ProfileName } from '../../kvm/profile.ts';

export type DumpFormat = 'text' | 'kernel' | 'json';

export interface DumpFlags {
  readonly kvm?: ProfileName;
  readonly vcpus?: number;
  readonly seed: number;
  readonly engine: RunOptions['engine'];
  readonly format: DumpFormat;
  readonly json?: string;
}

/** Runs a workload and prints the table that it left. Resolves to whether the run passed; violations go to standard error. */
export async function dumpRun(
  workload: string,
  flags: DumpFlags,
  io: Output,
  commands: Commands,
): Promise<boolean> {
  const json = new JsonOutput(flags.json);
  const { snapshot, result } = await run(workload, flags, io, commands);
  print(snapshot, flags.format, json, io);
  for (const { verdict, message } of result.violations) {
    io.stderr.write(`faultline: ${verdict}: ${message}\n`);
  }
  return result.ok;
}

/** Prints the table of a document. */
export function dumpFile(file: string, flags: DumpFlags, io: Output): void {
  const json = new JsonOutput(flags.json);
  print(readDump(file), flags.format, json, io);
}

async function run(
  workload: string,
  flags: DumpFlags,
  io: Output,
  commands: Commands,
): Promise<{ readonly snapshot: Snapshot; readonly result: RunResult }> {
  const { engine, kvm, seed, vcpus } = flags;
  const scenario = loadWorkload(workload, { vcpus, kvm, explore: engine === 'explore' });
  const taken: Snapshot[] = [];
  const progress = new ProgressLine(io);
  try {
    const options: RunOptions = {
      engine,
      port: 'wasm',
      seed,
      seeds: 1,
      seconds: null,
      signal: io.signal,
      onProgress: (state) => progress.update(state),
    };
    const result = await commands.runWorkload(scenario, options, {
      beforeVerify: ({ world }) => taken.push(takeSnapshot(world, flags)),
    });
    io.signal?.throwIfAborted();
    const [snapshot] = taken;
    if (snapshot === undefined) throw new Error('the run was not dumped');
    return { snapshot, result };
  } finally {
    progress.clear();
  }
}

function print(snapshot: Snapshot, format: DumpFormat, json: JsonOutput, io: Output): void {
  const document = documentOf(snapshot);
  json.write(document, io);
  if (json.isStdout) return;
  if (format === 'json') new JsonOutput('-').write(document, io);
  else io.stdout.write(format === 'text' ? textDump(snapshot) : kernelDump(snapshot));
}
