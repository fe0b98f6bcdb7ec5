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
    expect(JSON.parse(json)).toMatchObject({ ok: true, engine: 'threads', vcpus: 2, workload });
  });

  test('runs on the JavaScript port too', { timeout: TIMEOUT_MS }, () => {
    const argv = ['run', 'demand-paging', '-v', '2', '--port', 'js', '--json', '-'];
    expect(JSON.parse(faultline(argv))).toMatchObject({ ok: true });
  });

  test('checks the events of threads, of edited code too', { timeout: TIMEOUT_MS }, () => {
    expect(checked('good/lock-order', 0)).toEqual([]);
    expect(checked('bad/lock-order', 1)).toMatchObject([{ verdict: 'lock-order' }]);
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
      const argv = ['run', 'permission-storm', '-v', '1', '--engine', engine, '--json', '-'];
      const permissionFaults = (...more: readonly string[]): unknown => {
        // Edited, W stands everywhere: what is written without a fault is not dirty.
        const status = more.length === 0 ? 0 : 1;
        const out = faultline([...argv, ...more], status);
        const result: unknown = JSON.parse(out);
        expect(result).toMatchObject({ ok: status === 0, engine });
        return (result as RunResult).faults.permission;
      };
      expect(permissionFaults('--edit', edit)).toBe(0);
      expect(permissionFaults()).not.toBe(0);
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

/** The violations of a checked run on threads. */
function checked(workload: string, status: number): unknown {
  const argv = ['run', workload, '--check', '--json', '-'];
  const result = JSON.parse(faultline(argv, status)) as RunResult;
  expect(result.port).toBe('traced');
  return result.violations;
}
