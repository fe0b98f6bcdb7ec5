/** Guests with stage 1 on, under a host that moves their pages; and what KVM's invalidations are for. */
import { describe, expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { loadWorkload } from '../../src/main/workload/workload.ts';
import type { GuestStage1, PatternProgram, Phase, Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

/** The shipped workload with another stage 1. */
function guest(stage1: Partial<GuestStage1> = {}): Scenario {
  const scenario = small('guest-tables');
  if (scenario.stage1 === undefined) throw new Error('stage 1 is off');
  return { ...scenario, stage1: { ...scenario.stage1, ...stage1 } };
}

test.each([
  ['of hardware updates', {}],
  ['of nothing to update', { accessFlag: 'preset', dirtyState: false }],
  ['of 39 bits', { vaBits: 39 }],
] as const)('with tables %s passes, on both engines', async (_what, stage1) => {
  const scenario = guest(stage1);
  for (const engine of ['explore', 'threads'] as const) {
    const { ok, violations, faults } = await runSmall(scenario, { engine, seeds: 2 });
    expect({ ok, violations }).toEqual({ ok: true, violations: [] });
    expect(faults.total).toBeGreaterThan(0);
  }
});

test('with the twin check', async () => {
  const scenario = loadWorkload('guest-tables', { explore: true, twin: true });
  const { ok, violations } = await runSmall(scenario);
  expect({ ok, violations }).toEqual({ ok: true, violations: [] });
});

const random: PatternProgram = {
  kind: 'pattern',
  pattern: 'random',
  slot: 0,
  region: 'shared',
  touches: 40,
  writes: 0.5,
  stride: 1,
  exponent: 1,
};

describe('the bad twin', () => {
  const file = 'src/kvm/two-stage-mmu.ts';
  const noVmalle1: SourceEdit = {
    file,
    find: 'yield* this.interconnect.tlbi({ kind, vmid, va: 0 as Va, asid: 0 as Asid });',
    replace: 'void kind; void vmid;',
  };
  /** Nothing but writes, and pages that move: no permission ever has to be relaxed. */
  const moving: Scenario = {
    ...guest({ accessFlag: 'preset', dirtyState: false }),
    rounds: [
      {
        name: 'move',
        guest: { ...random, writes: 1 },
        hosts: [{ action: 'migrate', slot: 0, pages: 4, times: null, delay: 1 }],
      },
    ],
  };

  test('that skips VMALLE1IS lets a guest use a stale combined entry', async () => {
    const result = await runSmall(moving, { edits: [noVmalle1], seeds: 5 });
    expect(verdictsOf(result)).toContain('stale-translation');
    const { count } = result.seeds;
    expect((await runSmall(moving, { seeds: count })).violations).toEqual([]);
  });

  test('keeps a guest from a permission that it was given', async () => {
    const all = { ...random, pattern: 'sequential', touches: null } as const;
    const phase = (name: string, writes: number): Phase => ({
      name,
      guest: { ...all, writes },
      hosts: [],
    });
    const protect = {
      name: 'protect',
      guest: null,
      hosts: [{ action: 'write-protect', times: 1 }],
    };
    const rounds = [phase('map', 1), protect as Phase, phase('cache', 0), phase('relax', 1)];
    const scenario: Scenario = { ...guest(), vcpus: 1, rounds };
    expect((await runSmall(scenario)).violations).toEqual([]);
    await expect(runSmall(scenario, { edits: [noVmalle1] })).rejects.toThrow(
      'the access faults again and again although the host changes nothing',
    );
  });

  test('of a guest without stage 1 is no bad one: it has no combined entries', async () => {
    const { stage1: _, ...scenario } = guest();
    const { ok } = await runSmall(scenario, { edits: [noVmalle1], seeds: 2 });
    expect(ok).toBe(true);
  });
});
