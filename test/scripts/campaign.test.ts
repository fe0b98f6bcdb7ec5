import { expect, test } from 'vitest';
import { PROFILES } from '../../src/kvm/profile.ts';
import { shippedWorkloads } from '../../src/main/input-file.ts';
import { shapes } from '../../scripts/reshaped.ts';
import { explorationLine, explorations } from '../../scripts/campaign-explorations.ts';
import { CAMPAIGN_RUNS, campaignLine } from '../../scripts/campaign-plan.ts';

test('the campaign covers every workload, engine, port, number of vCPUs and shape of machine', () => {
  const plan = Object.values(CAMPAIGN_RUNS).flatMap((runs) => runs());
  const distinct = (key: 'workload' | 'engine' | 'port' | 'vcpus'): number =>
    new Set(plan.map((run) => run[key])).size;
  expect([distinct('workload'), distinct('engine'), distinct('port'), distinct('vcpus')]).toEqual([
    shippedWorkloads().length,
    2,
    3,
    5,
  ]);
  expect(new Set(plan.map(({ kvm }) => kvm))).toEqual(new Set(Object.keys(PROFILES)));
  // Four workloads on two engines, eleven on one: 4K and 16K with and without LPA2, 64K; 52 bits where there are; FWB or not.
  expect(plan.filter(({ shape }) => shape !== null)).toHaveLength(19 * (3 + 4 + 3 + 4 + 4) * 2);
  expect(plan.filter(({ twin }) => twin)).toHaveLength(15 * 4 * 2);
  expect(plan.filter(({ seconds }) => seconds === 60)).toHaveLength(4 + 4);
});

test.each(['threads', 'explore'] as const)('a sample of it on %s passes', async (engine) => {
  const run = {
    engine,
    port: 'wasm',
    vcpus: 2,
    seeds: 2,
    seconds: null,
    shape: null,
    kvm: 'legacy',
    twin: true,
  } as const;
  const { ok, line } = await campaignLine({ ...run, workload: 'access-flag' });
  expect(ok).toBe(true);
  expect(line).toMatch(
    /^access-flag, .*2 vCPUs, legacy, with a twin: passed, \d+ faults, walks .*, \d+\.\d s CPU$/,
  );
});

test('a machine of another shape is named in its line', async () => {
  const shape = shapes().at(-1) ?? null;
  const run = {
    engine: 'explore',
    port: 'wasm',
    vcpus: 2,
    seeds: 2,
    seconds: null,
    shape,
    kvm: '5.10',
    twin: false,
  } as const;
  const { ok, line } = await campaignLine({ ...run, workload: 'permission-storm' });
  expect(ok).toBe(true);
  expect(line).toContain('2 vCPUs, 5.10, 64K FWB XNX, 52 bits: passed');
});

test('an exploration of it ends by itself with the numbers that it has to have, or fails', async () => {
  const row = explorations().find(
    ({ workload, kvm }) => `${workload} ${kvm}` === 'litmus/translation legacy',
  );
  if (row === undefined) throw new Error('no such exploration');
  expect(await explorationLine(row)).toMatchObject({
    ok: true,
    line: expect.stringMatching(
      /^litmus\/translation, dpor, legacy: exhaustive, passed, 8 schedules, 8 traces, /,
    ),
  });
  expect(await explorationLine({ ...row, traces: 15 })).toMatchObject({ ok: false });
});
