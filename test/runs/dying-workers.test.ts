/** Runs that cannot end by themselves: a dead worker, an agent that gave up, an impatient user. */
import { setImmediate } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { AgentPool } from '../../src/main/pool.ts';
import { main } from '../../src/main/program.ts';
import { runWorkload } from '../../src/main/run.ts';
import { ThreadRunner } from '../../src/main/run-threads.ts';
import type { SharedWorld } from '../../src/main/shared-world.ts';
import { StuckError, UserError } from '../../src/main/user-error.ts';
import { statisticsOf } from '../../src/workers/layout.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { fakeIo } from '../main/fake-io.ts';
import { RUN_OPTIONS, runSmall, small } from './small.ts';

const entryOf = (name: string): URL =>
  new URL(`../fixtures/dying-workers/${name}.ts`, import.meta.url);

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Runs demand-paging with a worker module of ours; what it failed with, once its threads are gone. */
async function failureOf(name: string): Promise<unknown> {
  const close = vi.spyOn(AgentPool.prototype, 'close');
  const run = runSmall(small('demand-paging'), { engine: 'threads' }, { entry: entryOf(name) });
  const failure: unknown = await run.then(
    () => null,
    (error: unknown) => error,
  );
  expect(close).toHaveBeenCalledOnce();
  expect(await close.mock.results[0]?.value).toBeUndefined();
  return failure;
}

test.each([
  ['throws', 'a worker died: planted bug'],
  ['exits', 'a worker died: worker exited with code: 7'],
  [
    'exhausts',
    'a worker died: Worker terminated due to reaching memory limit: JS heap out of memory',
  ],
  ['fails', 'vCPU 1: planted failure'],
  ['holds', 'a worker died: worker exited with code: 7; vCPU 1 held mmu_lock, mmap_lock (read)'],
])('a worker that %s while the others wait in a barrier ends the run', async (name, message) => {
  const failure = await failureOf(name);
  expect(failure).toBeInstanceOf(StuckError);
  expect((failure as StuckError).message).toBe(message);
});

/** Ends once both vCPUs wait for a lock, each in line behind the other. */
async function embraced({ memory, layout }: SharedWorld): Promise<void> {
  const { locks, rwLocks } = STATISTICS;
  const waits = [locks.mmu_lock, rwLocks.mmap_lock.write].map(
    ({ contentions }, vcpu) =>
      new Int32Array(memory.buffer, statisticsOf(layout, vcpu) + contentions, 1),
  );
  while (waits.some((begun) => begun[0] === 0)) await setImmediate();
}

test('a run in which nothing moves for 30 s ends, and says who holds which lock and who waits for it', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const runner = new ThreadRunner(small('demand-paging'), RUN_OPTIONS, {
    entry: entryOf('stalls'),
  });
  const ended = runner.run(1).then(
    () => null,
    (error: unknown) => error,
  );
  await embraced(runner.shared);
  // The first look has nothing to compare with.
  vi.advanceTimersByTime(100 + 30_000);
  const failure = await ended;
  await runner.close();
  expect(failure).toBeInstanceOf(StuckError);
  expect((failure as StuckError).message).toBe(
    'no agent made a step for 30 s; vCPU 0 holds mmap_lock (read) and waits for mmu_lock; vCPU 1 holds mmu_lock and waits for mmap_lock (write)',
  );
});

test('the error of a worker is kept as the cause', async () => {
  const failure = (await failureOf('throws')) as StuckError;
  expect(failure.cause).toMatchObject({ message: 'planted bug' });
});

test.each([
  ['throws', 'faultline: a worker died: planted bug\n'],
  ['fails', 'faultline: vCPU 1: planted failure\n'],
  [
    'holds',
    'faultline: a worker died: worker exited with code: 7; vCPU 1 held mmu_lock, mmap_lock (read)\n',
  ],
])('on the command line a worker that %s is one line and exit status 3', async (name, line) => {
  const io = fakeIo();
  const status = await main(['run', 'demand-paging', '-v', '2'], io, {
    runWorkload: (_, options) =>
      runWorkload(small('demand-paging'), options, { entry: entryOf(name) }),
    bench: () => Promise.reject(new Error('not asked for')),
  });
  expect([status, io.out(), io.err()]).toEqual([3, '', line]);
});

test.each(['threads', 'explore'] as const)(
  '%s: a host out of memory is for the user to mend: one line',
  async (engine) => {
    const scenario = small('demand-paging', { frames: 4 });
    const run = runSmall(scenario, { engine });
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow(
      /^vCPU \d, .*: the host is out of memory; raise machine.memory/,
    );
  },
);

test('an abort ends a run on threads, and its threads', async () => {
  const close = vi.spyOn(AgentPool.prototype, 'close');
  const abort = new AbortController();
  const rounds: number[] = [];
  const run = runSmall(small('demand-paging'), {
    engine: 'threads',
    seconds: 600,
    signal: abort.signal,
    onProgress: ({ round }) => {
      rounds.push(round);
      // It runs: rounds have begun.
      if (round > 1) abort.abort();
    },
  });
  await expect(run).rejects.toThrow('aborted');
  expect(rounds.at(-1)).toBeGreaterThan(1);
  expect(close).toHaveBeenCalledOnce();
  expect(await close.mock.results[0]?.value).toBeUndefined();
});

test('an abort ends a run under explore between two seeds', async () => {
  const abort = new AbortController();
  const seeds: number[] = [];
  const run = runSmall(small('permission-storm'), {
    seeds: 1_000_000,
    signal: abort.signal,
    onProgress: ({ seed }) => {
      seeds.push(seed);
      if (seed > 1) abort.abort();
    },
  });
  await expect(run).rejects.toThrow('aborted');
  expect(seeds).toEqual([1, 17]);
});
