import { spawnSync } from 'node:child_process';
import { afterEach, expect, test, vi } from 'vitest';
import { bench, type BenchSize } from '../../../src/main/bench/bench.ts';
import { EXPLORE_SHAPES } from '../../../src/main/bench/explore-shapes.ts';
import type { BenchResult } from '../../../src/main/result.ts';
import { LOCK_PRIMITIVES } from '../../../src/workers/bench-locks.ts';
import { fakeIo } from '../fake-io.ts';

/** Small enough for a test run, large enough that every benchmark does its work. */
const tiny: BenchSize = {
  pages: 64,
  rangePages: 1024,
  hits: 512,
  lockRounds: 100,
  explorations: 0.1,
  batches: 1,
  warmups: 0,
  vcpus: [2],
  workers: [2],
};

const labels = (results: readonly BenchResult[]): string[] =>
  results.map(({ name, port, vcpus }) => `${name} ${port} ${vcpus}`);

async function resultsOf(group: string, size: BenchSize = tiny): Promise<readonly BenchResult[]> {
  const { results } = await bench([group], fakeIo(), size);
  for (const { p50, p99, min, name } of results) {
    expect([name, p50 > 0 || name === 'seam/worker-memory']).toEqual([name, true]);
    expect(min).toBeLessThanOrEqual(p50);
    expect(/^(?:seam\/)?explore/.test(name) ? p99 <= p50 : p99 >= p50).toBe(true);
  }
  return results;
}

test('bench fault: each figure on both ports, by as many vCPUs as are asked for', async () => {
  const names = ['fault/translation', 'fault/permission', 'access/tlb-hit'];
  const operations = ['map', 'relax', 'mkyoung', 'wrprotect', 'unmap'].map((op) => `pgtable/${op}`);
  const expected = [...names, ...operations].flatMap((name) => [`${name} wasm 1`, `${name} js 1`]);
  const results = await resultsOf('fault', { ...tiny, vcpus: [1] });
  expect(labels(results)).toEqual(expected);
  for (let i = 0; i < results.length; i += 2) {
    const [wasm, js] = results.slice(i);
    expect(js?.ratioTo).toEqual({ wasm: (js?.p50 ?? 0) / (wasm?.p50 ?? 1) });
  }
}, 60_000);

const PGTABLE = [
  ...['map', 'map-random', 'relax', 'mkyoung'].map((op) => `pgtable/page-${op}`),
  ...['map', 'wrprotect', 'unmap', 'age'].map((op) => `pgtable/range-${op}`),
];

afterEach(() => {
  vi.unstubAllEnvs();
});

test.skipIf(spawnSync('cc', ['--version']).status !== 0)(
  'bench pgtable: each operation against the same in C, in the same run',
  { timeout: 60_000 },
  async () => {
    const { results } = await bench(['pgtable'], fakeIo(), tiny);
    expect(results.map(({ name, port }) => `${name} ${port}`)).toEqual(
      PGTABLE.flatMap((name) => [`${name} wasm`, `${name} native`]),
    );
    for (let i = 0; i < results.length; i += 2) {
      const [ours, theirs] = results.slice(i);
      expect(ours?.ratioTo).toEqual({ native: (ours?.p50 ?? 0) / (theirs?.p50 ?? 1) });
      expect(theirs?.ratioTo).toEqual({});
    }
  },
);

test('bench pgtable without a compiler: a note, and every result without its ratio', async () => {
  vi.stubEnv('CC', '/nowhere/cc');
  const io = fakeIo();
  const { results } = await bench(['pgtable'], io, tiny);
  expect(results.map(({ name, port, ratioTo }) => [name, port, ratioTo])).toEqual(
    PGTABLE.map((name) => [name, 'wasm', {}]),
  );
  expect(io.err()).toMatch(/^no comparison with C: [^\n]+\n$/);
}, 60_000);

test('bench seam: the map path twice, stripped against by hand; explore; the start of workers', async () => {
  const results = await resultsOf('seam', { ...tiny, pages: 512 });
  expect(labels(results)).toEqual([
    'seam/map-by-hand wasm 1',
    'seam/map-stripped wasm 1',
    'seam/explore-random explore 2',
    'seam/explore-in-turn explore 2',
    'seam/worker-start wasm 2',
    'seam/worker-memory wasm 2',
  ]);
  const [byHand, stripped] = results;
  expect(stripped?.ratioTo).toEqual({ byHand: (stripped?.p50 ?? 0) / (byHand?.p50 ?? 1) });
}, 60_000);

test('bench locks: each primitive and mode, alone and by two threads, against bare atomic operations', async () => {
  const { results } = await bench(['locks'], fakeIo(), tiny);
  expect(results.map(({ name, vcpus }) => `${name} ${vcpus}`)).toEqual(
    [1, 2].flatMap((agents) => LOCK_PRIMITIVES.map((name) => `locks/${name} ${agents}`)),
  );
  for (const agents of [1, 2]) {
    const all = results.filter(({ vcpus }) => vcpus === agents);
    const [atomics] = all;
    expect(all.map(({ ratioTo }) => ratioTo)).toEqual(
      all.map(({ p50 }) => ({ atomics: p50 / (atomics?.p50 ?? 1) })),
    );
  }
}, 60_000);

test('bench explore: each strategy on each shape, schedules and steps, and what recording and checkers cost', async () => {
  const shapes = { '2x1': 2, '4x4': 4, '8x16': 8, translation: 2 };
  const modes = ['-bare', '', '-checked', '-traced'].flatMap((mode) => [mode, `${mode}-steps`]);
  const expected = Object.entries(shapes).flatMap(([shape, vcpus]) =>
    ['random', 'pct', 'dpor'].flatMap((strategy) =>
      modes.map((mode) => `explore/${strategy}-${shape}${mode} explore ${vcpus}`),
    ),
  );
  expect(labels(await resultsOf('explore'))).toEqual(expected);
}, 60_000);

test('bench explore: with all checkers, and without any', () => {
  const sinks = EXPLORE_SHAPES.map(({ plain, checked }) =>
    [plain(), checked()].map((subject) =>
      (subject.sinks ?? []).map((sink) => sink.constructor.name),
    ),
  );
  const all = ['EventDigest', 'LockChecker', 'TableChecker'];
  expect(sinks).toEqual(EXPLORE_SHAPES.map(() => [[], all]));
});

test('bench traced: the same accesses without checkers and with them', async () => {
  const { results } = await bench(['traced'], fakeIo(), { ...tiny, pages: 64 });
  expect(results.map(({ name, kvm, port, vcpus }) => `${name} ${kvm} ${port} ${vcpus}`)).toEqual(
    ['5.10', '6.12'].flatMap((kvm) => [
      `traced/threads ${kvm} wasm 2`,
      `traced/check ${kvm} traced 2`,
    ]),
  );
  for (let i = 0; i < results.length; i += 2) {
    const [threads, check] = results.slice(i);
    expect(check?.ratioTo).toEqual({ threads: (check?.p50 ?? 0) / (threads?.p50 ?? 1) });
  }
}, 60_000);

test('bench protocol: each profile, own pages and the same, against the spin lock', async () => {
  const { results } = await bench(['protocol'], fakeIo(), tiny);
  expect(results.map(({ name, kvm, vcpus }) => `${name} ${kvm} ${vcpus}`)).toEqual(
    ['own', 'same'].flatMap((region) =>
      ['legacy', '5.10', '5.18', '6.12'].map((kvm) => `protocol/${region} ${kvm} 2`),
    ),
  );
  for (const { kvm, p50, vcpus, perSecond, ratioTo } of results) {
    expect(perSecond).toBeCloseTo((vcpus * 1e9) / p50, 3);
    expect(Object.keys(ratioTo)).toEqual(kvm === '5.10' ? [] : ['5.10']);
  }
}, 60_000);
