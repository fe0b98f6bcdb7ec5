import { editedSources, type SourceEdit } from './edits.ts';
import { moduleUrl, prestrip } from './prestrip.ts';

/** How `Worker` or Piscina is to start a worker thread that runs stripped core code. */
export interface WorkerLaunch {
  /** URL of the module to run. */
  readonly filename: string;
  readonly execArgv: string[];
}

/** A module that a worker can run by name, in a folder of `src`: those of `main` run edits under `explore`, or check what threads do. */
const FOLDERS = {
  'thread-entry': 'workers',
  'bench-entry': 'workers',
  'edited-entry': 'main',
  'check-entry': 'main',
  'edited-exploration': 'main/explore',
  'part-entry': 'main/explore',
} as const;

/** One of these, or another one. */
export type WorkerEntry = keyof typeof FOLDERS | URL;

/** Whose operations a worker's core performs: WebAssembly or JavaScript atomics, those that are recorded, or the generators of `explore`. */
export type WorkerPort = 'wasm' | 'js' | 'traced' | 'explore';

const CONDITIONS: Readonly<Record<WorkerPort, readonly string[]>> = {
  wasm: ['--conditions=faultline-threads'],
  js: ['--conditions=faultline-threads-js'],
  traced: ['--conditions=faultline-traced'],
  explore: [],
};

/**
 * Where and how worker threads start: in a checkout from the sources through a load hook, in an installed package from
 * `dist/threads`, which the build has stripped; with `edits` from the sources in both.
 *
 * `entry` is the module to run: one of ours by name, or, in a checkout only, another one by URL (a test's worker, a `.ts` file).
 * Throws `DialectError` when a source that a worker may load leaves the core dialect, UserError for edits that cannot be applied.
 */
export function workerLaunch(
  port: WorkerPort,
  entry: WorkerEntry,
  edits: readonly SourceEdit[] = [],
): WorkerLaunch {
  if (!new URL(import.meta.url).pathname.endsWith('.ts')) {
    if (entry instanceof URL) throw new Error('an installed package runs its own workers only');
    const form = port === 'explore' ? '' : 'threads/';
    const built = new URL(`../${form}${FOLDERS[entry]}/${entry}.js`, import.meta.url);
    if (edits.length === 0) return { filename: built.href, execArgv: [...CONDITIONS[port]] };
  }
  const source = entry instanceof URL ? entry : moduleUrl(`src/${FOLDERS[entry]}/${entry}.ts`);
  const texts = { edited: editedSources(edits), keepGenerators: port === 'explore' };
  const hook = moduleUrl('src/engine/threads-hook.mjs');
  hook.search = new URLSearchParams({ manifest: prestrip(source, texts).href }).toString();
  return { filename: source.href, execArgv: [...CONDITIONS[port], '--import', hook.href] };
}
