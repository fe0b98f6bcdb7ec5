import { defineConfig, type TestProjectConfiguration, type ViteUserConfig } from 'vitest/config';
import { shortPath, stripModule } from './src/main/prestrip.ts';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 12)) {
  throw new Error(
    `Node ${process.version} is too old: use "npm test" or "npx vitest", which run the pinned Node.`,
  );
}

/** Serves modules as a worker sees them, so that one test file runs on a thread port in process. */
const stripped = {
  name: 'faultline:strip',
  enforce: 'pre',
  transform(code: string, id: string): { code: string; map: null } | null {
    const path = shortPath(id.split('?')[0] ?? id);
    return /^(src|test)\b.*\.ts$/.test(path) ? { code: stripModule(code, path), map: null } : null;
  },
} as const;

function threads(condition: string): TestProjectConfiguration {
  const conditions = [condition, 'module', 'node', 'development|production'];
  return {
    extends: true,
    plugins: [stripped],
    resolve: { conditions },
    ssr: { resolve: { conditions } },
    test: { name: condition.replace('faultline-', ''), include: ['test/ports/**/*.test.ts'] },
  };
}

const config: ViteUserConfig = defineConfig({
  test: {
    pool: 'forks',
    // Loading the core anew for each file, and reading its coverage, costs more than many a test does.
    isolate: false,
    // Half of the cores is the default for few of them.
    maxWorkers: '100%',
    testTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'explore', include: ['test/**/*.test.ts'] } },
      threads('faultline-threads'),
      threads('faultline-threads-js'),
      threads('faultline-traced'),
    ],
    coverage: {
      provider: 'v8',
      autoAttachSubprocess: true, // measures node:worker_threads and child processes
      include: ['src/**/*.ts'],
      reporter: ['text', 'lcov'],
      thresholds: { lines: 80 },
    },
  },
});
export default config;
