import { Piscina } from 'piscina';
import { expect, test } from 'vitest';
import { workerLaunch } from '../../src/main/worker-entry.ts';
import type { Answer } from '../fixtures/threads/entry.ts';

const entry = new URL('../fixtures/threads/entry.ts', import.meta.url);

async function inside(port: 'wasm' | 'js'): Promise<Answer> {
  const pool = new Piscina({ ...workerLaunch(port, entry), minThreads: 1, maxThreads: 1 });
  try {
    return (await pool.run(null)) as Answer;
  } finally {
    await pool.destroy();
  }
}

test.each(['wasm', 'js'] as const)('a worker of port %s runs stripped core code', async (port) => {
  const answer = await inside(port);
  expect(answer.source).toMatch(/^function {2}bump\(/);
  expect(answer.source).not.toContain('yield');
  expect(answer.returned).toBe(5);
});

test('a stack trace names the line and column of the source', async () => {
  const answer = await inside('wasm');
  expect(answer.stack).toContain('test/fixtures/threads/agents.ts:7:11');
});

test('each port name loads its own port', async () => {
  expect((await inside('wasm')).operation).toContain('wasm.');
  expect((await inside('js')).operation).toContain('Atomics.');
});

test('the texts are made once per content', () => {
  expect(workerLaunch('wasm', entry)).toEqual(workerLaunch('wasm', entry));
});
