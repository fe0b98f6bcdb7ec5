/** The program as a user starts it: a child process, its two outputs and its exit status; what else it refuses, in process. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { commands } from '../../src/main/commands.ts';
import { main } from '../../src/main/program.ts';
import { fakeIo } from '../main/fake-io.ts';

const PROGRAM = 'bin/faultline.js';
const folder = mkdtempSync(join(tmpdir(), 'faultline-runs-'));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function faultline(...args: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** A small permission storm in a file of the test's own, so that a run is short. */
function workload(name: string, change: (text: string) => string = (text) => text): string {
  const file = join(folder, `${name}.yaml`);
  const text = readFileSync('workloads/permission-storm.yaml', 'utf8')
    .replaceAll('16M', '256K')
    .replace('repeat: 8', 'repeat: 1');
  writeFileSync(file, change(text));
  return file;
}

/** All keys of a document, `a.b`; those of list elements as `a[].b`. */
function keysOf(value: unknown, path: string = ''): string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap((item) => keysOf(item, `${path}[]`)))];
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, item]) =>
    keysOf(item, path === '' ? key : `${path}.${key}`),
  );
}

const CLASSES = ['translation', 'permission', 'access'];
const PERCENTILES = ['p50', 'p90', 'p99', 'max'];
/** The keys that the design fixes; more may stand beside them. */
const FIXED_KEYS = [
  'schema',
  'ok',
  'workload',
  'engine',
  'kvm',
  'vcpus',
  'seed',
  'wallSeconds',
  'guestAccesses',
  ...['total', ...CLASSES, 'retried', 'perSecond'].map((key) => `faults.${key}`),
  ...CLASSES.flatMap((name) =>
    ['faults', 'min', 'max', 'mean'].map((key) => `walks.${name}.${key}`),
  ),
  ...CLASSES.flatMap((name) => PERCENTILES.map((key) => `latencyNs.${name}.${key}`)),
  ...['name', 'mode', 'type', 'acquisitions', 'contended'].map((key) => `locks[].${key}`),
  ...['waitNs', 'holdNs'].flatMap((name) =>
    [...PERCENTILES, 'min', 'total', 'mean'].map((key) => `locks[].${name}.${key}`),
  ),
  ...['byIpa', 'local', 'range', 'vmid', 'all'].map((key) => `tlbi.${key}`),
  ...['digest', 'pages', 'leaves.4K', 'leaves.2M', 'leaves.1G'].map((key) => `tables.${key}`),
];

test('run WORKLOAD -v 2 --json - writes the document to standard output, and nothing else', () => {
  const { status, stdout, stderr } = faultline('run', workload('storm'), '-v', '2', '--json', '-');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const document = JSON.parse(stdout) as Record<string, unknown>;
  const keys = new Set(keysOf(document));
  expect(FIXED_KEYS.filter((key) => !keys.has(key))).toEqual([]);
  expect(document).toMatchObject({
    schema: 'faultline.run/1',
    ok: true,
    workload: 'permission-storm',
    engine: 'threads',
    kvm: '5.10',
    vcpus: 2,
    seed: 1,
    walks: { permission: { min: 1, max: 1, mean: 1 }, access: { faults: 0, min: null, max: null } },
    violations: [],
  });
});

test('a shipped workload is found by its name and passes', () => {
  const { status, stdout, stderr } = faultline('run', 'permission-storm', '--engine', 'explore');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toContain('PASSED');
});

/** Makes the program believe in a terminal, so that it reports progress: the sign that it runs. */
const TERMINAL = `data:text/javascript,${encodeURIComponent('process.stderr.isTTY = true;')}`;

test('Ctrl-C ends a long run: one line, status 130, no result', async () => {
  const json = join(folder, 'interrupted.json');
  const args = ['run', workload('long'), '-v', '2', '--seconds', '600', '--json', json];
  const child = spawn(process.execPath, ['--import', TERMINAL, PROGRAM, ...args]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => {
    err += String(chunk);
    // The first progress line: the agents are at work.
    if (!child.killed && err.includes(' accesses, ')) child.kill('SIGINT');
  });
  expect(await once(child, 'close')).toEqual([130, null]);
  expect(err.split('\r\u001B[K').at(-1)).toBe('faultline: interrupted\n');
  expect([out, existsSync(json)]).toEqual(['', false]);
});

const files = {
  missing: join(folder, 'missing.yaml'),
  binary: join(folder, 'binary.yaml'),
  empty: join(folder, 'empty.yaml'),
};

beforeAll(() => {
  writeFileSync(files.binary, Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2]));
  writeFileSync(files.empty, '');
  const trace = readFileSync('workloads/data/true.lackey.gz');
  writeFileSync(join(folder, 'cut.lackey.gz'), trace.subarray(0, trace.length >> 1));
});

const withTrace = (text: string): string =>
  text.replace('pattern: sequential, region: partitioned, writes: 1', 'trace: cut.lackey.gz');

test('an error is one line on standard error and status 2', () => {
  const { status, stdout, stderr } = faultline('run', files.missing);
  expect(stderr).toMatch(/^faultline: [^\n]+missing\.yaml: no such file[^\n]*\n$/);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
});

test.each<[string, () => readonly string[], RegExp]>([
  ['a binary file', () => [files.binary], /binary\.yaml: a binary file, not a workload/],
  ['an empty file', () => [files.empty], /empty\.yaml: the file is empty/],
  ['half a trace', () => [workload('cut', withTrace)], /cut\.lackey\.gz.*(?:truncated|cut|end)/],
  [
    'an unknown key',
    () => [workload('key', (text) => `${text}colour: red\n`)],
    /key\.yaml:\d+:1: colour: unknown key/,
  ],
  ['an unknown flag', () => ['permission-storm', '--colour'], /unknown option '--colour'/],
  ['no vCPU', () => ['permission-storm', '-v', '0'], /--vcpus/],
  ['too many vCPUs', () => ['permission-storm', '-v', '100000'], /--vcpus/],
  [
    'more memory than there can be',
    () => [workload('memory', (text) => text.replace('memory: 256K', 'memory: 64T'))],
    /memory\.yaml:\d+:\d+: machine\.memory: /,
  ],
  [
    'an address beyond the IPA space',
    () => [workload('ipa', (text) => text.replace('0x40000000', '0xffffff0000'))],
    /ipa\.yaml:\d+:\d+: slots\[0\]\.base: .*below 0x10000000000/,
  ],
])('%s is one, in process', async (_, args, line) => {
  const io = fakeIo();
  expect(await main(['run', ...args()], io, commands)).toBe(2);
  expect(io.err()).toMatch(line);
  expect(io.err()).toMatch(/^faultline: [^\n]+\n$/);
  expect(io.out()).toBe('');
});

test('memory that fits the file but not the layout names what it needs', async () => {
  const large = workload('large', (text) =>
    text
      .replaceAll('256K', '64G')
      .replace('contents: page', 'contents: line')
      .replace('memory: 64G', 'memory: 1G'),
  );
  const io = fakeIo();
  expect(await main(['run', large, '-v', '8'], io, commands)).toBe(2);
  expect(io.err()).toMatch(/^faultline: .*memory.*\n$/);
});
