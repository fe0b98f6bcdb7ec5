/** What `npm run mutation` runs for each mutant: the tests of the mutated folders, in process and in one project. */
import { defineConfig, type ViteUserConfig } from 'vitest/config';

const config: ViteUserConfig = defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 20_000,
    setupFiles: ['test/support/no-shrinking.ts'],
    include: ['test/{machine,patches,pgtable}/**/*.test.ts'],
  },
});
export default config;
