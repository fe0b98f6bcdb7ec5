import { expect, test } from 'vitest';
import { campaignLine, campaignPlan } from '../../scripts/campaign-plan.ts';

test('the campaign covers every workload, engine, port and number of vCPUs', () => {
  const plan = campaignPlan();
  const distinct = (key: 'workload' | 'engine' | 'port' | 'vcpus'): number =>
    new Set(plan.map((run) => run[key])).size;
  expect([distinct('workload'), distinct('engine'), distinct('port'), distinct('vcpus')]).toEqual([
    4, 2, 2, 5,
  ]);
  expect(plan.filter(({ seconds }) => seconds !== null)).toHaveLength(4);
});

test.each(['threads', 'explore'] as const)('a sample of it on %s passes', async (engine) => {
  const run = { engine, port: 'wasm', vcpus: 2, seeds: 3, seconds: null } as const;
  const { ok, line } = await campaignLine({ ...run, workload: 'real-program' });
  expect(ok).toBe(true);
  expect(line).toMatch(/^real-program, .*2 vCPUs: passed, \d+ faults, walks .*, \d+\.\d s CPU$/);
});
