/** `run --check`: what the checkers of events see of threads, and how such a run ends. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { AgentPool } from '../../src/main/pool.ts';
import { StuckError } from '../../src/main/user-error.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const TRACED = { engine: 'threads', port: 'traced' } as const;

afterEach(() => {
  vi.restoreAllMocks();
});

describe('code that is right', () => {
  test.each<[string, Partial<Scenario>]>([
    ['storm', { kvm: 'legacy' }],
    ['storm', { kvm: '5.10' }],
    ['storm', { kvm: '5.18' }],
    ['storm', { kvm: '6.12' }],
    ['teardown', { kvm: '6.12' }],
    ['migration', { kvm: '5.10', twin: true }],
    ['shared-cpus', { kvm: '6.12' }],
  ])('%s passes: %o', async (name, overrides) => {
    const result = await runSmall(small(name, overrides), { ...TRACED, seeds: 2 });
    expect(result.violations).toEqual([]);
    expect(result).toMatchObject({ ok: true, engine: 'threads', port: 'traced' });
    expect(result.trace?.events).toBeGreaterThan(10_000);
    expect(result.trace?.perSecond).toBeGreaterThan(0);
  });

  test('without --check nothing is recorded', async () => {
    const result = await runSmall(small('demand-paging'), { engine: 'threads' });
    expect(result).not.toHaveProperty('trace');
  });
});

const edit = (file: string, find: string, replace: string): SourceEdit => {
  return { file: `src/${file}`, find, replace };
};

describe('code that is wrong is found on threads', () => {
  test.each<[string, string, Scenario['kvm'], SourceEdit, string[]]>([
    [
      'an entry is broken without a TLBI',
      'migration',
      '5.10',
      edit('pgtable/entry.ts', 'yield* pgt.ops.tlbFlushIpa(context.addr, hint);', ''),
      ['break-not-completed', 'break-before-make'],
    ],
  ])('%s', async (_what, workload, kvm, planted, verdicts) => {
    const options = { ...TRACED, seeds: 20, edits: [planted] };
    const result = await runSmall(small(workload, { kvm }), options);
    expect(verdictsOf(result)).toEqual(expect.arrayContaining(verdicts));
  });
});
