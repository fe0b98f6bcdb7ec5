import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunResult } from '../src/main/result.ts';

/** A minute each: the compiler and npm start cold on a slow machine. */
const TIMEOUT_MS = 120_000;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-package-'));
  run('npm', ['pack', '--pack-destination', folder], process.cwd());
  writeFileSync(join(folder, 'package.json'), '{"name":"empty","private":true}');
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  // Without the pinned Node, which is large: this test's own Node is first in PATH.
  const quiet = ['--omit=optional', '--prefer-offline', '--no-audit', '--no-fund'];
  run('npm', ['install', ...quiet, `./${tarball}`], folder);
}, TIMEOUT_MS);
afterAll(() => rmSync(folder, { recursive: true }), TIMEOUT_MS);

/** Standard output of a command that has to end with `expected`; the variables of the npm that runs this test stay outside. */
function run(command: string, argv: readonly string[], cwd: string, expected = 0): string {
  const outer = Object.entries(process.env).filter(([name]) => !name.startsWith('npm_'));
  const PATH = `${dirname(process.execPath)}:${process.env['PATH']}`;
  const env = { ...Object.fromEntries(outer), PATH, NODE_V8_COVERAGE: '' };
  const { status, stdout, stderr } = spawnSync(command, argv, { cwd, env, encoding: 'utf8' });
  expect(status, `${command} ${argv.join(' ')}: ${stderr}`).toBe(expected);
  return stdout;
}

/** The command as npx would start it, which takes as long as the command itself. */
function faultline(argv: readonly string[], expected = 0): string {
  return run(join('node_modules', '.bin', 'faultline'), argv, folder, expected);
}

/** A file of the user's own with less memory than what is shipped, so that a run is short. */
function smallStorm(): string {
  const text = readFileSync(installed('workloads', 'permission-storm.yaml'), 'utf8');
  writeFileSync(join(folder, 'storm.yaml'), text.replaceAll('16M', '256K'));
  return 'storm.yaml';
}

/** The programs of a document. */
function examplesOf(markdown: string): [string, string] {
  const programs = Array.from(markdown.matchAll(/^```js\n(.*?)^```$/gms), ([, text]) => text);
  expect(programs).toHaveLength(2);
  return programs as [string, string];
}

const installed = (...path: readonly string[]): string =>
  join(folder, 'node_modules', 'faultline', ...path);

describe('an installed package', () => {
  test('runs a shipped workload on real threads', { timeout: TIMEOUT_MS }, () => {
    const workload = 'permission-storm';
    const json = run('npx', ['faultline', 'run', workload, '-v', '2', '--json', '-'], folder);
    const result = JSON.parse(json) as RunResult;
    expect(result).toMatchObject({ ok: true, engine: 'threads', vcpus: 2, workload });
    expect(result.faults.permission).toBeGreaterThan(0);
  });

  test('runs on the JavaScript port too', { timeout: TIMEOUT_MS }, () => {
    const argv = ['run', smallStorm(), '-v', '2', '--port', 'js', '--json', '-'];
    expect(JSON.parse(faultline(argv))).toMatchObject({ ok: true });
  });

  test('checks the events of threads, of edited code too', { timeout: TIMEOUT_MS }, () => {
    const argv = ['run', 'bad/lock-order', '--check', '--json', '-'];
    const result: unknown = JSON.parse(faultline(argv, 1));
    expect(result).toMatchObject({ port: 'traced', violations: [{ verdict: 'lock-order' }] });
  });

  test.each(['threads', 'explore'])(
    'runs edited code on engine %s, from the sources that it ships',
    (engine) => {
      const edit = join(folder, 'edit.yaml');
      writeFileSync(
        edit,
        `file: src/kvm/dirty-log.ts
find: yield* applyRange(vm, slot, 'wrprotect');
replace: ''
`,
      );
      const argv = ['run', smallStorm(), '-v', '1', '--engine', engine, '--json', '-'];
      // W stands everywhere: what is written without a fault is not dirty.
      const result: unknown = JSON.parse(faultline([...argv, '--edit', edit], 1));
      expect(result).toMatchObject({ ok: false, engine, faults: { permission: 0 } });
    },
    TIMEOUT_MS,
  );

  test('exports the locks, for one thread and for many: what docs/locking.md shows', () => {
    const [explore, threads] = examplesOf(readFileSync('docs/locking.md', 'utf8'));
    writeFileSync(join(folder, 'explore.mjs'), explore);
    writeFileSync(join(folder, 'threads.mjs'), threads);
    expect(run('node', ['explore.mjs'], folder)).toBe('completed 3000\n');
    for (const port of ['threads', 'threads-js']) {
      const argv = [`--conditions=faultline-${port}`, 'threads.mjs'];
      expect(run('node', argv, folder)).toBe('[ 0, 0 ] 2000\n');
    }
  });

  test('brings no build tool', () => {
    const tools = ['typescript', 'vitest', 'vite', 'oxlint', 'rolldown'];
    expect(tools.filter((name) => existsSync(join(folder, 'node_modules', name)))).toEqual([]);
  });

  test('holds sources, both builds and workloads, and no tests', () => {
    // Edited runs keep their texts in node_modules/.cache there.
    const shipped = readdirSync(installed()).filter((name) => name !== 'node_modules');
    expect(shipped.toSorted()).toEqual(
      [
        'LICENSE',
        'README.md',
        'bench',
        'bin',
        'dist',
        'package.json',
        'src',
        'workloads',
      ].toSorted(),
    );
    expect(existsSync(installed('src', 'engine', 'strip.ts'))).toBe(true);
    expect(readdirSync(installed('bench', 'native'))).toEqual(['pgtable.c']);
    expect(existsSync(installed('dist', 'threads', 'workers', 'thread-entry.js'))).toBe(true);
  });
});
