/**
 * Failures on purpose: each attempt at each site fails once, by enumeration; of table pages a sample. Nothing leaks, nothing is half done, and the guest gets through
 * when user space tries again. What the handler returns for each is tested where it stands: test/kvm.
 */
import { describe, expect, test } from 'vitest';
import { FAILURE_SITES, type FailurePlan } from '../../src/machine/failure-point.ts';
import type { ProfileName } from '../../src/kvm/profile.ts';
import type { RunResult } from '../../src/main/result.ts';
import type { PageProgram, Phase, Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small } from './small.ts';

const PAGE = 4096;
const BASE = 0x4000_0000;

type Action = PageProgram['action'];

/** One pass over all pages. */
const pass = (action: Action, pages: number | null = null): PageProgram => ({
  action,
  times: 1,
  delay: 1,
  slot: 0,
  pages,
});

/** Both vCPUs go over all pages, or so many, while the host acts. */
function touch(
  writes: number,
  hosts: readonly Action[] = [],
  touches: number | null = null,
): Phase {
  return {
    name: 'touch',
    guest: {
      kind: 'pattern',
      pattern: 'sequential',
      slot: 0,
      region: 'shared',
      touches,
      writes,
      stride: 1,
      exponent: 1,
    },
    hosts: hosts.map((action) => pass(action)),
  };
}

const alone = (action: Action, pages: number | null = null): Phase => ({
  name: action,
  guest: null,
  hosts: [pass(action, pages)],
});

/** A workload in which every site is reached. */
function moving(failures: readonly FailurePlan[]): Scenario {
  return small('permission-storm', {
    slots: [{ base: BASE, bytes: 4 * PAGE, logging: true }],
    frames: 16,
    setup: [],
    rounds: [
      touch(0),
      touch(1, ['swap', 'migrate', 'merge']),
      alone('swap'),
      alone('merge'),
      touch(1),
    ],
    repeat: 2,
    failures,
  });
}

/** A transparent huge page that is split and collapsed. */
function huge(failures: readonly FailurePlan[]): Scenario {
  const backing = { kind: 'transparentHuge', pageBytes: PAGE, offset: 0 } as const;
  return small('permission-storm', {
    contents: 'line',
    frames: 2048,
    slots: [{ base: BASE, bytes: 2 ** 21, logging: false, backing }],
    setup: [],
    rounds: [touch(1, [], 4), alone('split', 1), alone('migrate', 1), alone('collapse', 1)],
    repeat: 1,
    failures,
  });
}

const NEVER = Number.MAX_SAFE_INTEGER;

/** Attempts at a site in a run in which nothing fails. */
async function attemptsAt(site: FailurePlan['site'], kvm: ProfileName): Promise<number> {
  const result = await runSmall({ ...moving([{ site, first: NEVER, every: null }]), kvm });
  return result.failures?.[0]?.attempts ?? 0;
}

const shown = ({ ok, violations, failures }: RunResult): unknown => ({
  ok,
  violations,
  failed: failures?.[0]?.failed,
});

// Most pages of tables fill a memcache, one like the other.
describe('each attempt fails once', () => {
  test.each([
    ['table-page', '5.10', 80, 4],
    ['guest-page', '5.10', 15, 1],
    ['swap-place', '5.10', 3, 1],
    ['copy', '5.10', 10, 1],
    ['prepare', '5.10', 1, 1],
    ['prepare', '6.12', 1, 1],
  ] as const)('%s, profile %s, at least %i, one in %i', async (site, kvm, least, step) => {
    const attempts = await attemptsAt(site, kvm);
    expect(attempts).toBeGreaterThanOrEqual(least);
    for (let first = 1; first <= attempts; first += step) {
      const result = await runSmall({ ...moving([{ site, first, every: null }]), kvm });
      expect(shown(result), `attempt ${first}`).toEqual({ ok: true, violations: [], failed: 1 });
    }
  });
});

test('6.12, table-page: one attempt after the other from each of ten on', async () => {
  for (let first = 1; first <= 10; first++) {
    const result = await runSmall({
      ...moving([{ site: 'table-page', first, every: 7 }]),
      kvm: '6.12',
    });
    expect(shown(result)).toMatchObject({ ok: true, violations: [] });
  }
});

test.each(['guest-page', 'copy'] as const)(
  'a huge page, %s: failures one after the other',
  async (site) => {
    const result = await runSmall(huge([{ site, first: 1, every: 3 }]));
    expect(shown(result)).toMatchObject({ ok: true, violations: [] });
    expect(result.failures?.[0]?.failed).toBeGreaterThan(1);
  },
);

test('all sites fail again and again, on threads', async () => {
  const failures = FAILURE_SITES.map((site) => ({ site, first: 2, every: 5 }));
  const result = await runSmall(moving(failures), { engine: 'threads' });
  expect(shown(result)).toMatchObject({ ok: true, violations: [] });
});
