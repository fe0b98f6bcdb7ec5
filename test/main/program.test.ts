import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { main } from '../../src/main/program.ts';
import { runReport } from '../../src/main/report.ts';
import type { BenchDocument } from '../../src/main/result.ts';
import type { Commands, RunOptions } from '../../src/main/run-options.ts';
import { StuckError, UserError } from '../../src/main/user-error.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { fakeIo } from './fake-io.ts';
import { fixedResult } from './fixed-result.ts';

const folder = mkdtempSync(join(tmpdir(), 'program-'));
const benchDocument: BenchDocument = {
  schema: 'faultline.bench/1',
  environment: fixedResult.environment,
  results: [],
};

interface Call {
  readonly scenario: Scenario;
  readonly options: RunOptions;
}

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
  readonly calls: readonly Call[];
  readonly benches: readonly (readonly string[])[];
}

/** Runs a command line against commands that only note what they were asked. */
async function run(
  argv: readonly string[],
  overrides: Partial<Commands> = {},
  io: ReturnType<typeof fakeIo> = fakeIo(),
): Promise<Outcome> {
  const calls: Call[] = [];
  const benches: (readonly string[])[] = [];
  const status = await main(argv, io, {
    runWorkload: (scenario, options) => {
      calls.push({ scenario, options });
      return Promise.resolve(fixedResult);
    },
    bench: (names, output) => {
      benches.push(names);
      output.stdout.write('measuring\n');
      return Promise.resolve(benchDocument);
    },
    ...overrides,
  });
  return { status, out: io.out(), err: io.err(), calls, benches };
}

const reportProgress: Commands['runWorkload'] = (_, options) => {
  options.onProgress?.({ round: 1, accesses: 2, faults: 3, seed: 4 });
  return Promise.resolve(fixedResult);
};

function failingWith(reason: Error): Partial<Commands> {
  return { runWorkload: () => Promise.reject(reason) };
}

describe('run', () => {
  test('passes the flags on and prints the report', async () => {
    const { status, out, err, calls } = await run([
      'run',
      'permission-storm',
      '-v',
      '2',
      '--seconds',
      '0.5',
      '--seed',
      '9',
      '--kvm',
      '5.10',
      '--port',
      'js',
    ]);
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(out).toBe(runReport(fixedResult));
    expect(calls[0]?.scenario).toMatchObject({
      name: 'permission-storm',
      vcpus: 2,
      kvm: '5.10',
      twin: false,
    });
    expect(calls[0]?.options).toMatchObject({
      engine: 'threads',
      port: 'js',
      seed: 9,
      seeds: 1,
      seconds: 0.5,
    });
  });

  test('without flags: threads, wasm, 5.10, seed 1, once', async () => {
    const { calls } = await run(['run', 'permission-storm']);
    expect(calls[0]?.options).toMatchObject({
      engine: 'threads',
      port: 'wasm',
      seed: 1,
      seeds: 1,
      seconds: null,
    });
    expect(calls[0]?.scenario).toMatchObject({ vcpus: 4, kvm: '5.10', twin: false });
  });

  test('--check: the port that records', async () => {
    const { calls } = await run(['run', 'permission-storm', '--check', '--seconds', '1']);
    expect(calls[0]?.options).toMatchObject({ engine: 'threads', port: 'traced', seconds: 1 });
  });

  test('--check under explore, which always does', async () => {
    const { status, calls } = await run(['run', 'storm', '--check', '--engine', 'explore']);
    expect([status, calls[0]?.options.engine]).toEqual([0, 'explore']);
  });

  test('explore gets the smaller scenario', async () => {
    const { calls } = await run([
      'run',
      'permission-storm',
      '--engine',
      'explore',
      '--seeds',
      '1000',
    ]);
    expect(calls[0]?.options).toMatchObject({ engine: 'explore', seeds: 1000 });
    expect(calls[0]?.scenario.slots[0]?.bytes).toBe(32_768);
  });

  test('--json - prints the document and nothing else', async () => {
    const { out } = await run(['run', 'permission-storm', '--json', '-']);
    expect(JSON.parse(out)).toEqual(fixedResult);
  });

  test('--json FILE writes the document beside the report', async () => {
    const file = join(folder, 'result.json');
    const { out } = await run(['run', 'permission-storm', '--json', file]);
    expect(out).toBe(runReport(fixedResult));
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(fixedResult);
  });

  test('a violation is exit status 1, and the document is written all the same', async () => {
    const bad = {
      ...fixedResult,
      ok: false,
      violations: [{ verdict: 'lost-write', message: 'm', schedule: '' }],
    };
    const outcome = await run(['run', 'permission-storm', '--json', '-'], {
      runWorkload: () => Promise.resolve(bad),
    });
    expect(outcome.status).toBe(1);
    expect(JSON.parse(outcome.out)).toEqual(bad);
  });

  test('shows progress on a terminal only, and leaves a clean line', async () => {
    const onTerminal = await run(
      ['run', 'permission-storm'],
      { runWorkload: reportProgress },
      fakeIo(true),
    );
    expect(onTerminal.err).toBe('\r\u001B[Kseed 4, round 1: 2 accesses, 3 faults\r\u001B[K');
    const elsewhere = await run(['run', 'permission-storm'], { runWorkload: reportProgress });
    expect(elsewhere.err).toBe('');
  });
});

describe('what ends a run early', () => {
  test.each([
    [new UserError('w.yaml:1:2: x: wrong'), 2, 'faultline: w.yaml:1:2: x: wrong\n'],
    [new StuckError('vCPU 1 died:\n  out of memory'), 3, 'faultline: vCPU 1 died: out of memory\n'],
  ])('%s', async (error, status, err) => {
    expect(await run(['run', 'permission-storm'], failingWith(error))).toMatchObject({
      status,
      err,
      out: '',
    });
  });

  test('anything else is a bug in us, told with its stack', async () => {
    const { status, err } = await run(['run', 'permission-storm'], {
      ...failingWith(new Error('boom')),
    });
    expect(status).toBe(4);
    expect(err).toMatch(
      /^faultline: internal error, a bug in faultline itself\nError: boom\n +at /u,
    );
  });

  test('Ctrl-C: the run is aborted and says so in one line, however it ended', async () => {
    for (const end of [
      () => Promise.resolve(fixedResult),
      () => Promise.reject(new Error('aborted')),
    ]) {
      const stop = new AbortController();
      const outcome = await run(
        ['run', 'permission-storm'],
        {
          runWorkload: (_, options) => {
            stop.abort();
            expect(options.signal?.aborted).toBe(true);
            return end();
          },
        },
        fakeIo(false, stop.signal),
      );
      expect(outcome).toMatchObject({ status: 130, err: 'faultline: interrupted\n', out: '' });
    }
  });
});

describe('usage errors: one line that names the flag, exit status 2, nothing run', () => {
  const storm = ['run', 'permission-storm'];
  test.each([
    [['run'], "missing required argument 'workload'"],
    [['frob'], "unknown command 'frob'"],
    [[...storm, '--frob'], "unknown option '--frob'"],
    [[...storm, '--vcpu', '3'], "unknown option '--vcpu' (Did you mean --vcpus?)"],
    [
      [...storm, 'more'],
      "too many arguments for 'run'. Expected 1 argument but got 2: permission-storm, more.",
    ],
    [[...storm, '-v', '0'], '--vcpus: expected a whole number from 1 to 512, not "0"'],
    [[...storm, '-v', '513'], '--vcpus: expected a whole number from 1 to 512, not "513"'],
    [[...storm, '-v', '1e2'], '--vcpus: expected a whole number from 1 to 512, not "1e2"'],
    [[...storm, '-v', ''], '--vcpus: expected a whole number from 1 to 512, not ""'],
    [[...storm, '-v', 'a\nb'], '--vcpus: expected a whole number from 1 to 512, not "a\\nb"'],
    [[...storm, '-v'], "option '-v, --vcpus <n>' argument missing"],
    [
      [...storm, '--seed', '4294967296'],
      '--seed: expected a whole number from 0 to 4294967295, not "4294967296"',
    ],
    [[...storm, '--seeds', '0'], '--seeds: expected a whole number from 1 to 1000000, not "0"'],
    [
      [...storm, '--seed', '4294967295', '--seeds', '2'],
      '--seeds: 2 seeds from 4294967295 on go beyond 4294967295',
    ],
    [
      [...storm, '--seconds', '0'],
      '--seconds: expected seconds, more than 0 and at most 86400, not "0"',
    ],
    [
      [...storm, '--seconds', 'Infinity'],
      '--seconds: expected seconds, more than 0 and at most 86400, not "Infinity"',
    ],
    [[...storm, '--kvm', '6.2'], '--kvm: "6.2" is not known (known: legacy, 5.10, 5.18, 6.12)'],
    [[...storm, '--engine', 'traced'], '--engine: "traced" is not known (known: threads, explore)'],
    [[...storm, '--port', 'c'], '--port: "c" is not known (known: wasm, js)'],
    [
      [...storm, '--engine', 'explore', '--seconds', '1'],
      '--seconds: not with --engine explore, where no clock runs; use --seeds',
    ],
    [
      [...storm, '--engine', 'explore', '--port', 'js'],
      '--port: not with --engine explore, which runs without threads',
    ],
    [
      [...storm, '--check', '--port', 'wasm'],
      '--port: not with --check, whose threads record what they do on a port of their own',
    ],
    [
      [...storm, '--seeds', '2', '--seconds', '1'],
      '--seconds: not with --seeds, which already says how long to run',
    ],
    [[...storm, '--json', folder], `--json: ${folder}: is a directory`],
    [
      [...storm, '--json', join(folder, 'no', 'x')],
      `--json: ${join(folder, 'no', 'x')}: not writable, or its folder does not exist`,
    ],
    [
      ['bench', 'nothing'],
      'NAME: "nothing" is not known (known: explore, fault, locks, pgtable, protocol, seam, traced)',
    ],
    [['start', 'now'], "too many arguments for 'start'. Expected 0 arguments but got 1: now."],
  ])('%j', async (argv, message) => {
    const outcome = await run(argv);
    expect(outcome).toEqual({
      status: 2,
      out: '',
      err: `faultline: ${message}\n`,
      calls: [],
      benches: [],
    });
  });

  test('--seconds on a workload without rounds has nothing to repeat', async () => {
    const file = join(folder, 'once.yaml');
    const text = `name: once
description: d
vcpus: 1
slots: [{ name: a, base: 0, size: 4K }]
setup: [{ name: s, guest: { pattern: random } }]
`;
    writeFileSync(file, text);
    expect(await run(['run', file])).toMatchObject({ status: 0 });
    expect(await run(['run', file, '--seconds', '1'])).toMatchObject({
      status: 2,
      err: 'faultline: --seconds: the workload has no rounds that could be repeated\n',
      calls: [],
    });
  });

  test('a file that cannot be written is noticed before the run, and none is left behind', async () => {
    const file = join(folder, 'early.json');
    const { status } = await run(['run', 'no-such-workload', '--json', file]);
    expect(status).toBe(2);
    expect(existsSync(file)).toBe(false);
  });
});

test('help and version are answers, no command is a question', async () => {
  expect(await run(['--version'])).toMatchObject({ status: 0, out: '0.1.0\n', err: '' });
  const help = await run(['run', '--help']);
  expect(help.status).toBe(0);
  expect(help.out).toContain('--seconds <s>');
  const nothing = await run([]);
  expect(nothing).toMatchObject({ status: 2, out: '' });
  expect(nothing.err).toContain('Usage: faultline');
  expect(await run(['help', 'frob'])).toMatchObject({ status: 2, out: '' });
});

describe('bench', () => {
  test('runs all, or the one named; what it says on its way is not the result', async () => {
    const all = await run(['bench', '--json', '-']);
    expect(all).toMatchObject({
      status: 0,
      err: 'measuring\n',
      benches: [['explore', 'fault', 'locks', 'pgtable', 'protocol', 'seam', 'traced']],
    });
    expect(JSON.parse(all.out)).toEqual(benchDocument);
    expect((await run(['bench', 'seam'])).benches).toEqual([['seam']]);
  });
});

test('start explains, runs a small storm and shows the report', async () => {
  const { status, out, calls } = await run(['start']);
  expect(status).toBe(0);
  expect(out).toContain(runReport(fixedResult));
  expect(calls[0]?.scenario).toMatchObject({ name: 'permission-storm', vcpus: 4, repeat: 8 });
  const bad = await run(['start'], {
    runWorkload: () => Promise.resolve({ ...fixedResult, ok: false }),
  });
  expect(bad.status).toBe(1);
});

test('as a process: the status and the one line arrive', () => {
  const cli = fileURLToPath(new URL('../../src/main/cli.ts', import.meta.url));
  const child = spawnSync(process.execPath, [cli, 'run', 'permission-storm', '-v', 'x'], {
    encoding: 'utf8',
  });
  expect({ status: child.status, out: child.stdout, err: child.stderr }).toEqual({
    status: 2,
    out: '',
    err: 'faultline: --vcpus: expected a whole number from 1 to 512, not "x"\n',
  });
});
