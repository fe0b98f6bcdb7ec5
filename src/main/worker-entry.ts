import { prestrip } from './prestrip.ts';

/** How `Worker` or Piscina is to start a worker thread that runs stripped core code. */
export interface WorkerLaunch {
  /** URL of the module to run. */
  readonly filename: string;
  readonly execArgv: string[];
}

const CONDITIONS = { wasm: 'faultline-threads', js: 'faultline-threads-js' } as const;

/**
 * Where and how worker threads start: in a checkout from the sources through a load hook, in an installed package from
 * `dist/threads`, which the build has stripped.
 *
 * `port` chooses WebAssembly or JavaScript atomics. `entry` replaces the vCPU thread by another module, in a checkout only (a test's
 * worker, a `.ts` file). Throws `DialectError` when a source that a worker may load leaves the core dialect.
 */
export function workerLaunch(port: keyof typeof CONDITIONS, entry?: URL): WorkerLaunch {
  const condition = `--conditions=${CONDITIONS[port]}`;
  if (!new URL(import.meta.url).pathname.endsWith('.ts')) {
    const built = entry ?? new URL('../threads/workers/thread-entry.js', import.meta.url);
    return { filename: built.href, execArgv: [condition] };
  }
  const source = entry ?? new URL('../workers/thread-entry.ts', import.meta.url);
  const hook = new URL('../engine/threads-hook.mjs', import.meta.url);
  hook.search = new URLSearchParams({ manifest: prestrip(source).href }).toString();
  return { filename: source.href, execArgv: [condition, '--import', hook.href] };
}
