/** Locks and waits on real threads, on both thread ports: invariants only. A lost wake-up shows as a test that never ends. */
import { setImmediate } from 'node:timers/promises';
import { Piscina } from 'piscina';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Stop } from '../../src/engine/port.ts';
import { HOLD_SAMPLE } from '../../src/locking/lock-account.ts';
import { workerLaunch } from '../../src/main/worker-entry.ts';
import type { Report, Task } from '../fixtures/threads-locking/entry.ts';
import { AT, READ_WRITE_STATISTICS } from '../fixtures/threads-locking/layout.ts';
import { countedFor } from '../support/lock-statistics.ts';

const entry = new URL('../fixtures/threads-locking/entry.ts', import.meta.url);
const AGENTS = 3;

describe.each(['wasm', 'js'] as const)('on port %s', (port) => {
  let pool: Piscina;
  let memory: WebAssembly.Memory;
  let words: Int32Array;

  beforeAll(() => {
    pool = new Piscina({
      ...workerLaunch(port, entry),
      minThreads: AGENTS,
      maxThreads: AGENTS,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
    });
  });
  afterAll(() => pool.destroy());

  beforeEach(() => {
    memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    words = new Int32Array(memory.buffer);
  });

  async function start(what: Task['what'], agents: number, rounds: number): Promise<Report[]> {
    const tasks = Array.from({ length: agents }, (_, agent): Task => {
      return { memory, agent, agents, rounds, what };
    });
    return Promise.all(tasks.map(async (task) => (await pool.run(task)) as Report));
  }

  test.each([
    ['a spin lock', 'countUnder'],
    ['a mutex', 'countUnderMutex'],
  ] as const)('%s excludes, and its statistics add up', async (_name, what) => {
    const rounds = 400;
    await start(what, AGENTS, rounds);
    expect(words[AT.counter / 4]).toBe(AGENTS * rounds);
    const counted = Array.from({ length: AGENTS }, (_, agent) => countedFor(memory.buffer, agent));
    expect(counted.map(({ acquisitions }) => acquisitions)).toEqual([rounds, rounds, rounds]);
    expect(counted.map(({ releases }) => releases)).toEqual([rounds, rounds, rounds]);
    const waits = counted.reduce((sum, agent) => sum + agent.waits, 0);
    expect(waits).toBeLessThan(AGENTS * rounds);
    const timed = Math.ceil(rounds / HOLD_SAMPLE);
    expect(counted.map(({ holds }) => holds)).toEqual([timed, timed, timed]);
  });

  test('a reader-writer lock excludes, and its statistics add up', async () => {
    const rounds = 200;
    const reports = await start('readWrite', AGENTS, rounds);
    expect(reports.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
    expect(words[AT.counter / 4]).toBe(AGENTS * rounds);
    expect(words[AT.counter / 4 + 1]).toBe(AGENTS * rounds);
    for (const [mode, times] of [
      ['read', 3 * rounds],
      ['write', rounds],
    ] as const) {
      const row = READ_WRITE_STATISTICS[mode];
      const counted = [0, 1, 2].map((agent) => countedFor(memory.buffer, agent, row));
      expect(counted.map(({ acquisitions }) => acquisitions)).toEqual([times, times, times]);
      expect(counted.map(({ releases }) => releases)).toEqual([times, times, times]);
      const timed = Math.ceil(times / HOLD_SAMPLE);
      expect(counted.map(({ holds }) => holds)).toEqual([timed, timed, timed]);
    }
  });

  test.each([
    ['writer', 'readers', 'writeAmongReaders', 'write', 'read'],
    ['reader', 'writers', 'readAmongWriters', 'read', 'write'],
  ] as const)('a %s among %s that never pause is served', async (_one, _many, what, one, many) => {
    const rounds = 50;
    const reports = await start(what, AGENTS, rounds);
    expect(reports.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
    const modes = [one, many, many].map((mode) => READ_WRITE_STATISTICS[mode]);
    const taken = modes.map((row, agent) => countedFor(memory.buffer, agent, row).acquisitions);
    expect(taken[0]).toBe(rounds);
    expect(Math.min(...taken.slice(1))).toBeGreaterThan(0);
  });

  test('what is read under a sequence count belongs together', async () => {
    const rounds = 2000;
    const reports = await start('sequence', AGENTS, rounds);
    expect(reports.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
    expect(words[AT.sequence / 4]).toBe(2 * (AGENTS - 1) * rounds);
  });

  test('nothing is freed under an SRCU reader', async () => {
    const rounds = 1000;
    const reports = await start('srcu', AGENTS, rounds);
    expect(reports.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
    const row = READ_WRITE_STATISTICS.write;
    expect(countedFor(memory.buffer, 0, row).acquisitions).toBe(rounds);
  });

  test('nothing is freed under an RCU reader, and all of it afterwards', async () => {
    const rounds = 1000;
    const reports = await start('rcu', AGENTS, rounds);
    expect(reports.map(({ end, wrong }) => [end, wrong])).toEqual([
      ['completed', 0],
      ['completed', 0],
      ['completed', 0],
    ]);
    expect(countedFor(memory.buffer, 1).acquisitions).toBe(rounds);
    expect(countedFor(memory.buffer, 2, READ_WRITE_STATISTICS.write).acquisitions).toBeGreaterThan(
      0,
    );
  });

  test('additions and 64-bit compare-and-swaps are atomic', async () => {
    const rounds = 20_000;
    words[AT.counter / 4] = -rounds;
    await start('countAtomically', AGENTS, rounds);
    expect(words[AT.counter / 4]).toBe((AGENTS - 1) * rounds);
    expect(words[AT.counter / 4 + 1]).toBe(1);
    expect(words[AT.counter / 4 + 2]).toBe(AGENTS * rounds);
  });

  test('no wake-up of a hand-shake is lost', async () => {
    const rounds = 200;
    const reports = await start('handShake', 2, rounds);
    expect(words[AT.ping / 4]).toBe(rounds);
    expect(words[AT.pong / 4]).toBe(rounds);
    expect([words[AT.ping / 4 + 1], words[AT.pong / 4 + 1]]).toEqual([0, 0]);
    // Every second signal of either side found the other asleep, or about to sleep.
    for (const { sleeps } of reports) expect(sleeps).toBeGreaterThanOrEqual(rounds / 2);
  });

  test('the stop word ends a wait', async () => {
    const ended = start('awaitOne', 1, 1);
    // Now the agent sleeps, or is about to.
    while (Atomics.load(words, AT.ping / 4 + 1) === 0) await setImmediate();
    Atomics.store(words, AT.stop / 4, Stop.abort);
    expect((await ended).map(({ end }) => end)).toEqual(['stopped']);
    expect(words[AT.ping / 4 + 1]).toBe(0);
  });
});
