/** Explorations of a core that is edited: what breaks is found by its own verdict, replays with the same edits, and adds up over shards. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../src/main/commands.ts';
import { main } from '../../src/main/program.ts';
import type { ExploreResult, ReplayResult } from '../../src/main/result.ts';
import { fakeIo } from './fake-io.ts';

const folder = mkdtempSync(join(tmpdir(), 'explore-edits-'));
const LEAK = 'test/fixtures/defects/valid-update-leaks-reference.yaml';
const RACE = 'litmus/install-2x2';

async function result<T extends ExploreResult | ReplayResult>(
  ...argv: readonly string[]
): Promise<T> {
  const io = fakeIo();
  await main([...argv, '--json', '-'], io, commands);
  return JSON.parse(io.out()) as T;
}

function editOf(name: string, file: string, find: string, replace: string): string {
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, JSON.stringify({ file, find, replace }));
  return path;
}

const verdictsOf = ({ violations }: ExploreResult | ReplayResult): readonly string[] =>
  violations.map(({ verdict }) => verdict).toSorted();

/** What must not depend on the number of shards. */
function seen({ traces, finalStates, exhaustive, violations }: ExploreResult): object {
  const times = violations.map((violation) => [violation.verdict, violation.times]);
  return { traces, finalStates, exhaustive, times };
}

/** Losing the race for a leaf counts as an error. */
const intolerant = editOf(
  'intolerant',
  'src/workers/install-litmus.ts',
  'if (!(yield* cas32(at, EMPTY, LOCKED, Order.acquire))) return;',
  'if (!(yield* cas32(at, EMPTY, LOCKED, Order.acquire))) throw new Error("lost");',
);

describe('explore --edit', () => {
  test('finds what a checker of events sees, in schedules that replay', async () => {
    const found = await result<ExploreResult>(
      'explore',
      'litmus/translation',
      '--schedules',
      '5',
      '--edit',
      LEAK,
    );
    expect(verdictsOf(found)).toEqual(['reference-count', 'table-count']);
    for (const { schedule, verdict, message } of found.violations) {
      const again = await result<ReplayResult>('replay', schedule, '--edit', LEAK);
      expect(again.complete).toBe(true);
      const same = again.violations.find((other) => other.verdict === verdict);
      expect(same?.message).toBe(message);
    }
    const [{ schedule }] = found.violations as [ExploreResult['violations'][number]];
    const io = fakeIo();
    expect(await main(['replay', schedule, 'litmus/translation'], io, commands)).toBe(2);
    expect(io.err()).toContain('SCHEDULE: of scenario ');
  });

  test('sets up and verifies with what is not edited', async () => {
    const edit = editOf(
      'no-digest',
      'src/pgtable/digest.ts',
      'return this.#hash.hex();',
      "throw new Error('edited');",
    );
    const found = await result<ExploreResult>(
      'explore',
      'litmus/translation',
      '--schedules',
      '3',
      '--edit',
      edit,
    );
    expect(found).toMatchObject({ ok: true, schedules: 3, finalStates: 1 });
  });
});

test('a violation comes down to what it takes, and replays so', async () => {
  const flags = [RACE, '--edit', intolerant];
  const found = await result<ExploreResult>('explore', ...flags, '--schedules', '100');
  const [violation] = found.violations as [ExploreResult['violations'][number]];
  expect(violation.program.map(({ operations }) => operations.length)).toEqual([1, 1]);
  expect(violation).toMatchObject({ verdict: 'error', steps: 9, preemptions: 1 });
  const again = await result<ReplayResult>('replay', violation.schedule, ...flags);
  const { timeline: _, ...same } = violation;
  expect(again.violations).toEqual([{ ...same, times: 1 }]);
});

test('set-up and hosts that a violation of a VM does not need are left out', async () => {
  const edit = editOf(
    'unasked',
    'src/kvm/user-mem-abort.ts',
    'yield* notifier.mustRetryLocked(found.sequence)',
    'false && (yield* notifier.mustRetryLocked(found.sequence))',
  );
  const flags = ['litmus/unmap-1', '--kvm', '5.10', '--edit', edit];
  const found = await result<ExploreResult>(
    'explore',
    ...flags,
    '--strategy',
    'random',
    '--schedules',
    '40',
  );
  const [violation] = found.violations as [ExploreResult['violations'][number]];
  expect(violation).toMatchObject({
    verdict: 'write-not-allowed',
    preemptions: 1,
    program: [
      { agent: 'vCPU 0', operations: ['touch: write 0x40000000', 'fault: write 0x40000000'] },
      { agent: 'host', operations: ['fault: protect'] },
    ],
  });
  expect(await result('replay', violation.schedule, ...flags)).toMatchObject({
    complete: true,
    violations: [{ verdict: 'write-not-allowed', preemptions: 1 }],
  });
});

/** The only violation, after it was replayed by the command line that a report names. */
async function replayedViolation(
  workload: string,
  edit: string,
): Promise<ExploreResult['violations'][number]> {
  const how = [workload, '--kvm', '6.12', '--edit', edit, '--longest', '500'];
  const random = ['--strategy', 'random', '--schedules', '8', '--workers', '1'];
  const found = await result<ExploreResult>('explore', ...how, ...random);
  expect(found.violations).toHaveLength(1);
  const [violation] = found.violations as [ExploreResult['violations'][number]];
  const again = await result<ReplayResult>('replay', violation.schedule, ...how);
  const { timeline: _, ...same } = violation;
  expect(again).toMatchObject({ complete: true, violations: [{ ...same, times: 1 }] });
  return violation;
}

describe('liveness of a VM', () => {
  test('a livelock: whoever faults once a notifier came retries for ever', async () => {
    const edit = editOf(
      'livelock',
      'src/kvm/notifier.ts',
      'return (yield* load32(this.#sequence, Order.once)) !== sequence;',
      'return (yield* load32(this.#sequence, Order.once)) !== 0;',
    );
    const violation = await replayedViolation('litmus/unmap', edit);
    expect(violation).toMatchObject({
      verdict: 'livelock',
      message: expect.stringMatching(/^again and again \d+ steps: .*notifierSequence/) as string,
      // One vCPU, and what a notifier comes of.
      program: [
        { operations: ['fault: write 0x40000000'] },
        { agent: 'host', operations: [expect.any(String)] },
      ],
    });
  });

  test('a lost wake-up: a host waits for guests that are done', async () => {
    const edit = editOf(
      'lost-wake-up',
      'src/workers/vcpu-agent.ts',
      'guestsFinished, 1, Order.release, 0);\n    if (this.#isAwaited) yield* this.#tellProgress();',
      'guestsFinished, 1, Order.release, 0);',
    );
    const workload = join(folder, 'awaited.yaml');
    const whole = readFileSync('workloads/litmus/unmap.yaml', 'utf8');
    writeFileSync(workload, whole.replace(/protect, delay: 0/, 'protect, delay: 3'));
    const violation = await replayedViolation(workload, edit);
    expect(violation).toMatchObject({
      verdict: 'deadlock',
      message: expect.stringMatching(/host waits for guestProgress/) as string,
      program: [{ agent: 'host', operations: ['fault: protect'] }],
    });
  });
});

describe('shards of an exploration that finds something', () => {
  test.each([
    ['dpor', []],
    ['random', ['--schedules', '1500']],
  ])('by %s: the same violations for any number of them', async (strategy, budget) => {
    const flags = [RACE, '--edit', intolerant];
    const how = ['--strategy', strategy, ...budget, '--workers', '1'];
    const whole = await result<ExploreResult>('explore', ...flags, ...how);
    expect(verdictsOf(whole)).toEqual(['error']);
    const files = [1, 2, 3].map((index) => join(folder, `${strategy}-${index}`));
    for (const [i, file] of files.entries())
      await result('explore', ...flags, ...how, '--shard', `${i + 1}/3`, '--checkpoint', file);
    const merged = await result<ExploreResult>('merge', RACE, ...files, '--edit', intolerant);
    expect(seen(merged)).toEqual(seen(whole));
  });
});
