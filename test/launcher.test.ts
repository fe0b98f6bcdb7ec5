import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

/** A preload that makes this Node claim to be an old one, so that the launcher hands over. */
const OLD = `data:text/javascript,${encodeURIComponent(
  "Object.defineProperty(process.versions, 'node', { value: '20.20.2' });",
)}`;
const PACKAGE = `node-${process.platform}-${process.arch}`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faultline-launcher-'));
  cpSync('bin', join(folder, 'bin'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Puts a shell script where the launcher looks for the pinned Node. */
function pin(script: string): void {
  const bin = join(folder, 'node_modules', PACKAGE, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'node'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'node'), 0o755);
}

const launcher = (): string => join(folder, 'bin', 'faultline.js');

function launchOld(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--import', OLD, launcher(), ...args], { encoding: 'utf8' });
}

/** Installs a program where the launcher expects the sources or the build. */
function program(path: string, text: string): void {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), text);
}

test('an old Node without the pinned one says what to install', () => {
  const { status, stderr, stdout } = launchOld('run');
  expect(stderr).toMatch(/^faultline: needs Node 24\.12 or newer and this is v.*"npm ci".*\n$/);
  expect([status, stdout]).toEqual([2, '']);
});

const outer = process.env['npm_node_execpath'] ?? process.execPath;
const outerVersion = spawnSync(outer, ['--version'], { encoding: 'utf8' }).stdout;
test.skipIf(!/^v(1\d|2[0-3])\./.test(outerVersion))(
  'a real old Node, the one npm runs on, understands the launcher',
  () => {
    const { status, stderr } = spawnSync(outer, [launcher()], { encoding: 'utf8' });
    expect(stderr).toContain(`and this is ${outerVersion.trim()}: run "npm ci"`);
    expect(status).toBe(2);
  },
);

test('a missing libatomic is named with its package', () => {
  pin(
    'echo "node: error while loading shared libraries: libatomic.so.1: cannot open" >&2; exit 127',
  );
  const { status, stderr } = launchOld('run');
  expect(stderr).toMatch(/^faultline: .*libatomic\.so\.1.*apt-get install libatomic1.*\n$/);
  expect(status).toBe(2);
});

test('a pinned Node that does not start for another reason is quoted', () => {
  pin('echo "Exec format error" >&2; exit 126');
  const { status, stderr } = launchOld('run');
  expect(stderr).toBe(
    `faultline: the Node of the package ${PACKAGE} does not start: Exec format error\n`,
  );
  expect(status).toBe(2);
});

test('arguments reach the pinned Node and its exit status comes back', () => {
  pin('[ "$1" = --version ] && exit 0; shift 3; echo "$@"; exit 3');
  const { status, stdout } = launchOld('run', 'a b', '--json', '-');
  expect([status, stdout]).toEqual([3, 'run a b --json -\n']);
});

test('a signal reaches the pinned Node, whose answer is passed on', async () => {
  pin(
    '[ "$1" = --version ] && exit 0; trap "exit 130" INT; echo ready; while :; do read -r _; done',
  );
  const child = spawn(process.execPath, ['--import', OLD, launcher()], { stdio: 'pipe' });
  await once(child.stdout, 'data'); // the script has set its trap
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([130, null]);
});

test('a pinned Node that a signal ends, ends the launcher by the same signal', () => {
  pin('[ "$1" = --version ] && exit 0; kill -TERM $$');
  expect(launchOld().signal).toBe('SIGTERM');
});

test('a checkout runs its sources, with the compile cache on', () => {
  program('src/main/cli.ts', 'console.log("source", process.env.NODE_COMPILE_CACHE as string);');
  const env = { PATH: process.env['PATH'], NODE_V8_COVERAGE: '' };
  const { stdout } = spawnSync(process.execPath, [launcher()], { encoding: 'utf8', env });
  expect(stdout).toBe(`source ${join(folder, 'node_modules', '.cache', 'node')}\n`);
});

test('coverage turns the compile cache off', () => {
  program('src/main/cli.ts', 'console.log(process.env.NODE_COMPILE_CACHE);');
  const env = { PATH: process.env['PATH'], NODE_V8_COVERAGE: join(folder, 'coverage') };
  const { stdout } = spawnSync(process.execPath, [launcher()], { encoding: 'utf8', env });
  expect(stdout).toBe('undefined\n');
});

test('without sources the build runs', () => {
  program('dist/main/cli.js', 'console.log("built");');
  const { stdout } = spawnSync(process.execPath, [launcher()], { encoding: 'utf8' });
  expect(stdout).toBe('built\n');
});
