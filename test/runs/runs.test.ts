/** Whole runs in process: what the rewrite is about holds on both engines and ports, and seeds mean what they say. */
import { describe, expect, test } from 'vitest';
import { shippedWorkloads } from '../../src/main/input-file.ts';
import type { RunResult } from '../../src/main/result.ts';
import type { Progress } from '../../src/main/run-options.ts';
import type { GuestProgram } from '../../src/workers/scenario.ts';
import { guestTablePages, runSmall, small } from './small.ts';

/** Every fault of a permission storm takes exactly one walk. */
function expectOneWalk(result: RunResult): void {
  const { ok, violations, walks, faults } = result;
  expect({ ok, violations }).toEqual({ ok: true, violations: [] });
  const { translation, permission } = walks;
  expect([translation.min, translation.max, permission.min, permission.max]).toEqual([1, 1, 1, 1]);
  expect(permission.faults).toBe(faults.permission);
  expect(translation.faults).toBe(faults.translation);
}

describe('permission-storm on threads', () => {
  // The campaign has every number on every port.
  const cases = [
    { port: 'wasm', vcpus: 1 },
    { port: 'js', vcpus: 2 },
    { port: 'wasm', vcpus: 8 },
  ] as const;
  test.each(cases)('$port, $vcpus vCPUs: one walk per fault', async ({ port, vcpus }) => {
    const pages = 24;
    const slots = [{ base: 0x4000_0000, bytes: pages * 4096, logging: false }];
    const scenario = small('permission-storm', { vcpus, slots, frames: pages, repeat: 3 });
    const result = await runSmall(scenario, { engine: 'threads', port });
    expectOneWalk(result);
    expect(result.guestAccesses).toBe(pages + 3 * vcpus * pages);
    // At least one per page and round; at most one more per vCPU that raced for it.
    expect(result.faults.translation).toBe(pages);
    expect(result.faults.permission).toBeGreaterThanOrEqual(3 * pages);
    expect(result.faults.permission).toBeLessThanOrEqual(3 * pages * vcpus);
    expect(result.tables).toMatchObject({ pages: 4, leaves: { '4K': pages, '2M': 0, '1G': 0 } });
    expect(result.tlbi).toMatchObject({ vmid: 3, byIpa: result.faults.permission });
    expect([result.port, result.eventDigest]).toEqual([port, null]);
  });
});

test('permission-storm under explore: 40 schedules with one walk per fault', async () => {
  const pages = 2;
  const slots = [{ base: 0x4000_0000, bytes: pages * 4096, logging: false }];
  const scenario = small('permission-storm', { slots, frames: pages });
  const seen: number[] = [];
  const onProgress = ({ seed }: Progress): number => seen.push(seed);
  const result = await runSmall(scenario, { seeds: 40, onProgress });
  expectOneWalk(result);
  expect(result.seeds).toEqual({ first: 1, count: 40 });
  expect(result.guestAccesses).toBe(40 * (2 + 2 * pages));
  expect(seen).toEqual(Array.from({ length: 3 }, (_, i) => 1 + 16 * i));
});

test('memory for just the pages that are touched suffices, however many vCPUs fault in one page', async () => {
  const slots = [{ base: 0x4000_0000, bytes: 2 * 4096, logging: false }];
  const storm = small('permission-storm').rounds.filter(({ guest }) => guest !== null);
  const scenario = small('permission-storm', {
    vcpus: 4,
    slots,
    frames: 2,
    setup: [],
    rounds: storm,
  });
  const result = await runSmall(scenario, { seeds: 10 });
  expect(result.ok).toBe(true);
  expect(result.faults.translation).toBeGreaterThan(10 * 2);
});

test('equal seeds have equal digests, other seeds others, and a range of seeds one of its own', async () => {
  const scenario = small('write-protect');
  const digestOf = async (seed: number, seeds = 1): Promise<string | null> =>
    (await runSmall(scenario, { seed, seeds })).eventDigest;
  const one = await digestOf(5);
  expect(one).toMatch(/^[0-9a-f]{16}$/);
  expect(await digestOf(5)).toBe(one);
  expect(await digestOf(6)).not.toBe(one);
  expect(await digestOf(5, 2)).not.toBe(one);
});

test.each(['explore', 'threads'] as const)(
  'programs of the host run side by side on %s, each on an agent of its own',
  async (engine) => {
    const protect = { action: 'write-protect', times: 3 } as const;
    const rounds = [
      { name: 'alone', guest: null, hosts: [{ action: 'discard', times: 2 } as const] },
      ...small('demand-paging').rounds.filter(({ guest }) => guest !== null),
      { name: 'together', guest: null, hosts: [protect, protect, protect] },
    ];
    const scenario = small('demand-paging', { rounds });
    const result = await runSmall(scenario, { engine, seeds: 5 });
    expect({ ok: result.ok, violations: result.violations }).toEqual({ ok: true, violations: [] });
    expect(result.tlbi.vmid).toBe(5 * 2 * 9);
  },
);

describe.each(shippedWorkloads())('%s, small', (name) => {
  test('passes under explore', async () => {
    const scenario = small(name);
    const { ok, violations, check, tables } = await runSmall(scenario);
    expect({ ok, violations }).toEqual({ ok: true, violations: [] });
    expect(check.leaves + guestTablePages(scenario)).toBe(tables.leaves['4K']);
    expect(check.leaves > 0).toBe(check.digest !== 'torn-down');
  });

  test('passes on threads, 2 seeds in the same memory', async () => {
    const result = await runSmall(small(name), { engine: 'threads', seeds: 2 });
    const { ok, violations, seeds } = result;
    expect({ ok, violations, count: seeds.count }).toEqual({ ok: true, violations: [], count: 2 });
  });
});

const BLOCK = 0x20_0000;

test.each([
  ['hugetlb', 'explore'],
  ['hugetlb', 'threads'],
  ['transparentHuge', 'explore'],
  ['transparentHuge', 'threads'],
] as const)('memory of %s is mapped by blocks on %s', async (kind, engine) => {
  const pageBytes = kind === 'hugetlb' ? BLOCK : 4096;
  const slots = [
    { base: 0x4000_0000, bytes: BLOCK, logging: false, backing: { kind, pageBytes, offset: 0 } },
  ];
  const guest = { ...small('demand-paging').rounds[1]?.guest, touches: 40, writes: 1 };
  const rounds = [{ name: 'touch', guest: guest as GuestProgram, hosts: [] }];
  const scenario = small('demand-paging', { slots, rounds, frames: 1536, contents: 'line' });
  const result = await runSmall(scenario, { engine, seeds: 2 });
  const { ok, violations, tables } = result;
  expect({ ok, violations }).toEqual({ ok: true, violations: [] });
  expect(tables.leaves).toEqual({ '4K': 0, '2M': 1, '1G': 0 });
  expect(result.check).toEqual({ digest: 'pages', leaves: 80 });
});

test('a guest that reaches a frame of another page is told', async () => {
  const planted = {
    file: 'src/kvm/kvm-notifier.ts',
    find: "yield* applyRangeLocked(this.vm, ipas, 'unmap', mayBlock ? 'yielding' : 'holding');",
    replace: 'void ipas; void mayBlock;',
  };
  const result = await runSmall(small('storm'), { edits: [planted] });
  expect(result.violations.map(({ verdict }) => verdict)).toContain('stale-translation');
});

test('an edit that sleeps under mmu_lock is told, though nothing comes of it', async () => {
  const planted = {
    file: 'src/kvm/user-mem-abort.ts',
    find: 'const mustRetry = yield*',
    replace: 'yield* request.memcache.topUp(0); const mustRetry = yield*',
  };
  const { violations } = await runSmall(small('demand-paging'), { edits: [planted] });
  expect(violations[0]?.verdict).toBe('lock-sleep');
  expect(violations[0]?.message).toMatch(/^vCPU \d may sleep in .* with mmu_lock held$/);
  expect(new Set(violations.map(({ verdict }) => verdict))).toEqual(new Set(['lock-sleep']));
});

test('the engines agree on what does not depend on the schedule', async () => {
  const scenario = small('demand-paging');
  const explored = await runSmall(scenario);
  const threaded = await runSmall(scenario, { engine: 'threads', port: 'js' });
  for (const result of [explored, threaded]) {
    expect(result.guestAccesses).toBe(32);
    expect(result.faults).toMatchObject({ total: 32, translation: 32, permission: 0, retried: 0 });
    expect(result.tables.leaves['4K']).toBe(16);
    expect(result.check).toEqual({ digest: 'exact', leaves: 16 });
  }
});

test.each(['threads', 'explore'] as const)(
  '%s: every kind of lock is counted, the modes apart; nothing is held at the end',
  async (engine) => {
    const { locks } = await runSmall(small('write-protect'), { engine });
    const types = Object.fromEntries(
      locks.map(({ name, mode, type }) => [`${name} ${mode}`, type]),
    );
    expect(types).toMatchObject({
      'mmu_lock spin': 'spinlock',
      'mmap_lock read': 'rwsem:R',
      'slots_lock mutex': 'mutex',
      'slots_srcu read': 'srcu:R',
      'slots_srcu write': 'srcu:W',
    });
    for (const { acquisitions, contended, waitNs, holdNs, type } of locks) {
      expect(contended).toBeLessThanOrEqual(acquisitions);
      expect([waitNs.min === null, waitNs.mean === null]).toEqual(
        contended === 0 ? [true, true] : [false, false],
      );
      // The first hold of each agent is timed.
      expect(holdNs.mean === null).toBe(type === 'srcu:W');
    }
  },
);
