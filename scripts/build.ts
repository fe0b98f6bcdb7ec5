/**
 * Builds the package: `dist/` by the compiler (generators, for the main thread), `dist/threads/` from it (stripped, for workers), and in
 * each a package.json that says which port `#port` is there.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { strip } from '../src/engine/strip.ts';
import { CORE, LOADABLE } from '../src/main/prestrip.ts';

const DIST = 'dist';
const THREADS = join(DIST, 'threads');

rmSync(DIST, { recursive: true, force: true });
compile();
for (const folder of LOADABLE) stripFolder(folder);
writePackage(DIST, {
  '#port': './engine/explore.js',
  '#unedited': './main/explore/unedited.js',
});
writePackage(THREADS, {
  '#port': {
    'faultline-threads-js': './engine/threads-js.js',
    'faultline-traced': './engine/traced.js',
    default: './engine/threads.js',
  },
});

function compile(): void {
  const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

function stripFolder(folder: string): void {
  const modules = readdirSync(join(DIST, folder), { recursive: true, encoding: 'utf8' });
  for (const module of modules.filter((name) => name.endsWith('.js'))) {
    const path = join(folder, module);
    const text = withoutMap(readFileSync(join(DIST, path), 'utf8'));
    mkdirSync(dirname(join(THREADS, path)), { recursive: true });
    writeFileSync(join(THREADS, path), CORE.includes(folder) ? strip(text, path) : text);
  }
}

/** The source map describes the module in `dist/`, whose folder its paths start from. */
function withoutMap(text: string): string {
  return text.replace(/^\/\/# sourceMappingURL=.*\n?/m, '');
}

function writePackage(folder: string, imports: object): void {
  const json = JSON.stringify({ type: 'module', imports }, null, 2);
  writeFileSync(join(folder, 'package.json'), `${json}\n`);
}
