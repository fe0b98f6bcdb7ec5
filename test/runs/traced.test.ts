/** `run --check`: what the checkers of events see of threads, and how such a run ends. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { loadEdits } from '../../src/main/edits-file.ts';
import { AgentPool } from '../../src/main/pool.ts';
import type { RunOptions } from '../../src/main/run-options.ts';
import type { RunHooks } from '../../src/main/run.ts';
import type { RunResult } from '../../src/main/result.ts';
import { StuckError } from '../../src/main/user-error.ts';
import { loadEditedWorkload } from '../../src/main/workload/workload.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const TRACED = { engine: 'threads', port: 'traced' } as const;

afterEach(() => {
  vi.restoreAllMocks();
});

describe('code that is right', () => {
  test.each<[string, Partial<Scenario>]>([
    ['storm', { kvm: '6.12' }],
    ['shared-cpus', { kvm: '5.10', twin: true }],
  ])('%s passes: %o', async (name, overrides) => {
    const seeds = 2;
    const result = await runSmall(small(name, overrides), { ...TRACED, seeds });
    expect(result.violations).toEqual([]);
    expect(result).toMatchObject({ ok: true, engine: 'threads', port: 'traced' });
    const { events, perSecond } = result.trace as NonNullable<RunResult['trace']>;
    expect(events).toBeGreaterThan(seeds * result.faults.total);
    expect(perSecond * result.wallSeconds).toBeCloseTo(events);
  });

  test('and nothing is recorded where nobody asked for it', async () => {
    const result = await runSmall(small('demand-paging'), { engine: 'threads' });
    expect(result).not.toHaveProperty('trace');
  });
});

/** Edits whose effect is known. */
const planted = {
  noTlbi: {
    file: 'src/pgtable/entry.ts',
    find: 'yield* pgt.ops.tlbFlushIpa(context.addr, hint);',
    replace: '',
  },
  throwsAtEnd: {
    file: 'src/workers/vcpu-agent.ts',
    find: 'if (this.#id === 0) yield* systemOff(this.#world.vm);',
    replace: "throw new Error('planted bug');",
  },
} as const satisfies Record<string, SourceEdit>;

/** One of each kind of checker; test/runs/pairs.test.ts has them all under explore. A defect that meets its race on threads has more to show. */
test.each(['break-not-completed', 'stale-tlb', 'entry-lock', 'lock-order'])(
  'workloads/bad/%s is found on threads',
  async (verdict) => {
    const file = `workloads/bad/${verdict}.yaml`;
    const { scenario, edited } = loadEditedWorkload(file, { explore: true });
    const edits = edited === null ? [] : loadEdits([], edited);
    const result = await runSmall(scenario, { ...TRACED, edits });
    expect(verdictsOf(result)).toContain(verdict);
  },
);

test('what was found before an agent died is the result', async () => {
  const edits = [planted.noTlbi, planted.throwsAtEnd];
  const result = await runSmall(small('migration', { kvm: '5.10' }), { ...TRACED, edits });
  expect(verdictsOf(result)).toEqual(expect.arrayContaining(['break-not-completed', 'stuck']));
});

const entryOf = (name: string): URL =>
  new URL(`../fixtures/dying-workers/${name}.ts`, import.meta.url);

/** What it failed with, once the threads of the agents and of the checkers are gone. */
async function failureOf(hooks: RunHooks, options: Partial<RunOptions> = {}): Promise<unknown> {
  const close = vi.spyOn(AgentPool.prototype, 'close');
  const run = runSmall(small('demand-paging'), { ...TRACED, ...options }, hooks);
  const failure: unknown = await run.then(
    () => null,
    (error: unknown) => error,
  );
  expect(close).toHaveBeenCalledTimes(2);
  await Promise.all(close.mock.results.map(({ value }: { readonly value: unknown }) => value));
  return failure;
}

describe('a run that does not come to its end', () => {
  test.each([
    ['fails', 'vCPU 1: planted failure'],
    ['holds', 'a worker died: worker exited with code: 7; vCPU 1 held mmu_lock, mmap_lock (read)'],
  ])('as an agent %s', async (name, message) => {
    const failure = await failureOf({ entry: entryOf(name) });
    expect(failure).toBeInstanceOf(StuckError);
    expect((failure as StuckError).message).toBe(message);
  });

  test('as a checker throws: a bug of ours, and no agent waits for it', async () => {
    const failure = await failureOf({ checkEntry: entryOf('dying-checker') }, { seconds: 600 });
    expect(failure).not.toBeInstanceOf(StuckError);
    expect((failure as Error).message).toBe('the checkers of events failed: planted bug');
  });

  test('as the user has no more patience', async () => {
    const abort = new AbortController();
    const onProgress = (): void => abort.abort();
    const { signal } = abort;
    const failure = await failureOf({}, { seconds: 600, signal, onProgress });
    expect((failure as Error).message).toContain('aborted');
  });
});
