import type { Commands } from './run-options.ts';

/** The real work, loaded when it is asked for: `--help` and a usage error need none of it. */
export const commands: Commands = {
  runWorkload: async (scenario, options, hooks) =>
    (await import('./run.ts')).runWorkload(scenario, options, hooks),
  bench: async (names, io) => (await import('./bench/bench.ts')).bench(names, io),
};
