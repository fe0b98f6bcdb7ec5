import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { explore } from '#port';
import { Execution } from '../../src/engine/execution.ts';
import { Recorder } from '../../src/explore/recorder.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { formatSchedule } from '../../src/explore/schedule.ts';
import { commands } from '../../src/main/commands.ts';
import { loadTarget } from '../../src/main/explore/target.ts';
import { main } from '../../src/main/program.ts';
import { exploreReport } from '../../src/main/report.ts';
import type { ExploreResult, ReplayResult } from '../../src/main/result.ts';
import { fakeIo } from './fake-io.ts';

const folder = mkdtempSync(join(tmpdir(), 'explore-'));

interface Ended {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function faultline(...argv: readonly string[]): Promise<Ended> {
  const io = fakeIo();
  const status = await main(argv, io, commands);
  return { status, out: io.out(), err: io.err() };
}

async function explored(...argv: readonly string[]): Promise<ExploreResult> {
  const { out } = await faultline('explore', ...argv, '--json', '-');
  return JSON.parse(out) as ExploreResult;
}

async function replayed(...argv: readonly string[]): Promise<ReplayResult> {
  const { out } = await faultline('replay', ...argv, '--json', '-');
  return JSON.parse(out) as ReplayResult;
}

/** A random schedule of a shipped scenario, and how many steps it has. */
function schedule(
  workload: string,
  seed: number,
): { readonly text: string; readonly steps: number } {
  const { hash, subjectOf } = loadTarget(workload, {});
  const subject = subjectOf(seed);
  const recorder = new Recorder(new RandomScheduler(seed), subject.words);
  const agents = subject.begin();
  const { steps } = explore(new Execution({ agents, scheduler: recorder, stepsMax: 100_000 }));
  const { agents: order, choices } = recorder;
  return {
    text: formatSchedule({ scenario: hash, seed, agents: order, choices, rests: [] }),
    steps,
  };
}

function countsOf({ steps, preemptions, traces }: ExploreResult): readonly number[] {
  return [steps, preemptions, traces];
}

function fileOf(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

describe('explore', () => {
  test.each([
    ['litmus/install-2x1', 48, 4],
    ['litmus/install-2x2.yaml', 384, 8],
    ['workloads/litmus/install-3x1.yaml', 1584, 9],
  ])('%s to the end', async (workload, traces, finalStates) => {
    expect(await explored(workload)).toMatchObject({
      schema: 'faultline.explore/1',
      ok: true,
      kvm: null,
      strategy: 'dpor',
      bound: 'every trace',
      exhaustive: true,
      stopped: 'exhausted',
      schedules: traces,
      abandoned: 0,
      traces,
      finalStates,
      unseen: null,
      violations: [],
    });
  });

  test('says so to people', async () => {
    const { status, out, err } = await faultline('explore', 'litmus/install-2x1');
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(out).toContain('exhaustive: every trace was executed');
    expect(out).toContain('48 traces, 4 final states');
  });

  test.each([
    ['litmus/translation', '5.10', 8, 1],
    ['litmus/permission', '5.10', 96, 1],
    ['litmus/permission', 'legacy', 42, 1],
    ['litmus/permission', '6.12', 6, 1],
    // The page is mapped before it is unmapped, or after.
    ['litmus/unmap-1', '5.10', 387, 2],
    ['litmus/unmap-1', '6.12', 387, 2],
  ])('%s, with the real fault handler of %s, to the end', async (workload, kvm, traces, states) => {
    expect(await explored(workload, '--kvm', kvm)).toMatchObject({
      ok: true,
      kvm,
      bound: 'every trace, with locks as wholes',
      exhaustive: true,
      stopped: 'exhausted',
      schedules: traces,
      abandoned: 0,
      traces,
      finalStates: states,
    });
  });

  test('a workload that is too large for that, as far as its budget goes', async () => {
    expect(await explored('litmus/unmap', '--schedules', '50')).toMatchObject({
      ok: true,
      exhaustive: false,
      stopped: 'schedules',
      schedules: 50,
      traces: 50,
    });
  });

  test.each([
    ['random', { unseen: expect.any(Number) as number }],
    ['pct', { bound: expect.stringContaining('a bug of depth 3') as string }],
    ['bounded', { bound: 'every interleaving of at most 2 preemptions', stopped: 'exhausted' }],
    ['brute-force', { stopped: 'exhausted', schedules: 498, exhaustive: true }],
  ])('by strategy %s', async (strategy, expected) => {
    const result = await explored(
      'litmus/install-2x1',
      '--strategy',
      strategy,
      '--schedules',
      '600',
    );
    expect(result).toMatchObject({ strategy, exhaustive: strategy === 'brute-force', ...expected });
  });

  test('is the same for the same seed', async () => {
    const flags = ['litmus/install-3x1', '--strategy', 'pct', '--schedules', '50', '--seed'];
    const [first, second, other] = [
      await explored(...flags, '3'),
      await explored(...flags, '3'),
      await explored(...flags, '99'),
    ];
    expect({ ...second, seconds: 0, environment: null }).toEqual({
      ...first,
      seconds: 0,
      environment: null,
    });
    expect(countsOf(other)).not.toEqual(countsOf(first));
  });

  test.each([
    ['--schedules', { stopped: 'schedules', schedules: 1 }],
    ['--steps', { stopped: 'steps', steps: 1, violations: [] }],
    ['--memory', { stopped: 'memory' }],
  ])('ends at a budget of 1: %s', async (flag, expected) => {
    const result = await explored('litmus/install-4x1', '--strategy', 'random', flag, '1');
    expect(result).toMatchObject({ exhaustive: false, ...expected });
  });

  test('ends at the second', async () => {
    const result = await explored('litmus/install-4x1', '--strategy', 'random', '--seconds', '1');
    expect(result.stopped).toBe('seconds');
    expect(result.seconds).toBeGreaterThanOrEqual(1);
  });

  test.each([
    [['nothing'], 'nothing: no such file'],
    [['litmus/install-2x1', '--strategy', 'best'], '--strategy: "best" is not known'],
    [['litmus/install-2x1', '--schedules', '0'], '--schedules: expected a whole number from 1'],
    [['litmus/install-2x1', '-v', '3'], '--vcpus: not with a litmus (install-2x1)'],
    [['litmus/install-2x1', '--kvm', '5.10'], '--kvm: not with a litmus (install-2x1)'],
  ])('refuses %j', async (argv, message) => {
    const { status, err } = await faultline('explore', ...argv);
    expect(status).toBe(2);
    expect(err).toContain(message);
    expect(err.split('\n')).toHaveLength(2);
  });

  test.each([
    ['threads: 2', 'threads: 0', 'threads: too small'],
    ['faults: 1', '', 'faults: missing: expected a number'],
    ['scenario: install', 'scenario: other', 'scenario:'],
    ['faults: 1', 'faults: 1\nvcpus: 2', 'vcpus: unknown key'],
  ])('refuses a litmus with %s as %j', async (line, instead, message) => {
    const whole = 'name: own\ndescription: own\nscenario: install\nthreads: 2\nfaults: 1\n';
    const { status, err } = await faultline(
      'explore',
      fileOf('own.yaml', whole.replace(line, instead)),
    );
    expect(status).toBe(2);
    expect(err).toContain(message);
  });
});

describe('replay', () => {
  test.each(['litmus/install-2x2', 'litmus/translation'])(
    'of a schedule of %s, which it finds by itself',
    async (workload) => {
      const { text, steps } = schedule(workload, 7);
      const expected = { ok: true, complete: true, recordedSteps: steps, steps };
      expect(await replayed(text)).toMatchObject(expected);
      expect(await replayed(text, workload)).toMatchObject(expected);
      expect(await replayed(`@${fileOf('schedule', `${text}\n`)}`)).toMatchObject(expected);
    },
  );

  test('goes on after the end only if it is told to', async () => {
    const { hash: scenario } = loadTarget('litmus/install-2x1', {});
    const text = formatSchedule({ scenario, seed: 1, agents: [0, 1, 0], choices: [], rests: [] });
    expect(await replayed(text)).toMatchObject({ complete: false, steps: 3 });
    const more = await replayed(text, '--continue');
    expect(more).toMatchObject({ complete: true, recordedSteps: 3 });
    expect(more.steps).toBeGreaterThan(3);
  });

  test.each([
    ['fl1:0000', 'SCHEDULE: a schedule that is cut off or damaged'],
    ['fl2:0', 'SCHEDULE: a schedule of version fl2, not fl1'],
    ['some text', 'SCHEDULE: no schedule: it does not begin with fl1:'],
    ['@/nowhere', '/nowhere: no such file'],
  ])('refuses %j', async (text, message) => {
    expect(await faultline('replay', text)).toEqual({
      status: 2,
      out: '',
      err: `faultline: ${message}\n`,
    });
  });

  test('refuses a schedule of another scenario', async () => {
    const { text } = schedule('litmus/install-2x2', 1);
    const { status, err } = await faultline('replay', text, 'litmus/install-2x1');
    expect(status).toBe(2);
    expect(err).toMatch(
      /^faultline: SCHEDULE: of scenario [0-9a-f]{8}, but install-2x1 is [0-9a-f]{8}: /,
    );
  });

  test('refuses a schedule that the scenario cannot follow', async () => {
    const { hash: scenario } = loadTarget('litmus/install-2x1', {});
    const text = formatSchedule({ scenario, seed: 1, agents: [0, 5], choices: [], rests: [] });
    expect(await faultline('replay', text)).toMatchObject({
      status: 2,
      err: 'faultline: SCHEDULE: step 2: agent 5 cannot run\n',
    });
  });

  test('knows scenarios apart by all that matters', () => {
    const hashes = [
      loadTarget('litmus/install-2x1', {}),
      loadTarget('litmus/install-2x2', {}),
      loadTarget('litmus/translation', {}),
      loadTarget('litmus/translation', { vcpus: 3 }),
      loadTarget('litmus/translation', { kvm: 'legacy' }),
      loadTarget('real-program', {}),
    ].map(({ hash }) => hash);
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(loadTarget('real-program', {}).hash).toBe(hashes.at(-1));
  });
});

test('a violation is shown with its schedule', async () => {
  const result = await explored('litmus/install-2x1');
  const violated = {
    ...result,
    ok: false,
    violations: [
      {
        verdict: 'deadlock',
        message: 'A waits',
        schedule: 'fl1:x',
        steps: 9,
        preemptions: 1,
        times: 2,
        program: [
          { agent: 'one', operations: ['write 0x0'] },
          { agent: 'two', operations: Array.from({ length: 9 }, (_, i) => `read ${i}`) },
        ],
        timeline: {
          agents: ['idle', 'one', 'two'],
          rows: [
            { step: 8, agent: 1, text: 'load64 entry: empty', why: '' },
            { step: 9, agent: 2, text: 'cas64 entry: empty -> LOCKED', why: 'one preempted' },
          ],
        },
      },
    ],
  };
  const text = exploreReport(violated, ' my.yaml --kvm 6.12');
  expect(text).toContain('VIOLATION deadlock: A waits\n');
  expect(text).toContain('in 2 schedules; this one has 9 steps and 1 preemption:\n');
  expect(text).toContain(
    '  faultline replay fl1:x my.yaml --kvm 6.12\n  one: write 0x0\n  two: read 0, read 1, read 2, read 3, read 4, read 5, read 6, read 7 and 1 more\n  its last 2 steps:\n',
  );
  const rows = text.split('\n').map((line) => line.trim().split(/ {2,}/u));
  expect(rows).toContainEqual(['step', 'one', 'two', 'switched because']);
  expect(rows).toContainEqual(['8', 'load64 entry: empty']);
  expect(rows).toContainEqual(['9', 'cas64 entry: empty -> LOCKED', 'one preempted']);
});
