import type { Scenario } from '../workers/scenario.ts';
import type { SourceEdit } from './edits.ts';
import type { BenchDocument, RunResult } from './result.ts';
import type { RunHooks } from './run.ts';

export interface Progress {
  /** Round of the current seed, from 1. */
  readonly round: number;
  readonly accesses: number;
  readonly faults: number;
  readonly seed: number;
}

export interface RunOptions {
  readonly engine: 'threads' | 'explore';
  /** Which thread port; means nothing under `explore`. Events are checked where they are recorded: on `traced`, and under `explore`. */
  readonly port: 'wasm' | 'js' | 'traced';
  readonly seed: number;
  /** How many seeds to run, from `seed` on. */
  readonly seeds: number;
  /** Repeat the rounds for so long instead of `Scenario.repeat` times; null is not. Only under `threads`. */
  readonly seconds: number | null;
  /** Changes of the core, for this run only. */
  readonly edits?: readonly SourceEdit[] | undefined;
  /** What the command line named, for the command that runs the same again. */
  readonly origin?:
    | { readonly workload: string; readonly editFiles: readonly string[] }
    | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Where a command writes. `isTTY`: standard error is a terminal, so that progress may be shown on it. */
export interface Output {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
  readonly isTTY: boolean;
  /** Aborted when the user asks to stop. */
  readonly signal?: AbortSignal | undefined;
}

/** What the command line calls; tests put their own in. */
export interface Commands {
  readonly runWorkload: (
    scenario: Scenario,
    options: RunOptions,
    hooks?: RunHooks,
  ) => Promise<RunResult>;
  readonly bench: (names: readonly string[], io: Output) => Promise<BenchDocument>;
}
