import { prestrip } from './prestrip.ts';

/** How `Worker` or Piscina is to start a worker thread that runs stripped core code. */
export interface WorkerLaunch {
  /** URL of the module to run. */
  readonly filename: string;
  readonly execArgv: string[];
}

/** A module of `src/workers` that a worker can run, or another one. */
export type WorkerEntry = 'thread-entry' | 'bench-entry' | URL;

const CONDITIONS = { wasm: 'faultline-threads', js: 'faultline-threads-js' } as const;

/**
 * Where and how worker threads start: in a checkout from the sources through a load hook, in an installed package from
 * `dist/threads`, which the build has stripped.
 *
 * `port` chooses WebAssembly or JavaScript atomics. `entry` is the module to run: one of `src/workers` by name, or, in a checkout only, another
 * one by URL (a test's worker, a `.ts` file). Throws `DialectError` when a source that a worker may load leaves the core dialect.
 */
export function workerLaunch(port: keyof typeof CONDITIONS, entry: WorkerEntry): WorkerLaunch {
  const condition = `--conditions=${CONDITIONS[port]}`;
  if (!new URL(import.meta.url).pathname.endsWith('.ts')) {
    if (entry instanceof URL) throw new Error('an installed package runs its own workers only');
    const built = new URL(`../threads/workers/${entry}.js`, import.meta.url);
    return { filename: built.href, execArgv: [condition] };
  }
  const source = entry instanceof URL ? entry : new URL(`../workers/${entry}.ts`, import.meta.url);
  const hook = new URL('../engine/threads-hook.mjs', import.meta.url);
  hook.search = new URLSearchParams({ manifest: prestrip(source).href }).toString();
  return { filename: source.href, execArgv: [condition, '--import', hook.href] };
}
