/** What sends faults back and has no end, by one edit of the source: found on each engine in its own way. Under `explore` nobody faults in vain. */
import { expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import type { RunOptions } from '../../src/main/run-options.ts';
import type { Phase, Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small } from './small.ts';

const fewer: SourceEdit = {
  file: 'src/kvm/vcpu.ts',
  find: 'SENT_BACK_MAX: number = 2 ** 20',
  replace: 'SENT_BACK_MAX: number = 2 ** 10',
};
/** An entry stays LOCKED. */
const unmade: SourceEdit = {
  file: 'src/pgtable/parallel/entry-update.ts',
  find: 'yield* storeDescriptor(context.entry, value, Order.release);',
  replace: '',
};
/** An invalidation stays open. */
const unended: SourceEdit = {
  file: 'src/kvm/notifier.ts',
  find: 'yield* store32(this.#count, count - 1, Order.release);',
  replace: '',
};

const touches = { kind: 'pattern', pattern: 'sequential', slot: 0, region: 'shared' } as const;
const write = { ...touches, touches: 2, writes: 1, stride: 1, exponent: 1 } as const;
const prefault = { kind: 'prefault', slot: 0, region: 'shared' } as const;
const migrate = { action: 'migrate', slot: 0, pages: null, times: 1, delay: 0 } as const;

function scenarioOf(...phases: readonly Pick<Phase, 'guest' | 'hosts'>[]): Scenario {
  const overrides = { kvm: '6.12', vcpus: 1, setup: [], ending: [], repeat: 1 } as const;
  const rounds = phases.map((phase, i) => ({ name: `phase ${i}`, ...phase }));
  return small('demand-paging', { ...overrides, rounds });
}

async function endOf(
  scenario: Scenario,
  engine: RunOptions['engine'],
  edit: SourceEdit,
): Promise<string> {
  try {
    const result = await runSmall(scenario, { engine, edits: [edit, fewer] });
    return result.violations.map(({ verdict, message }) => `${verdict}: ${message}`).join('; ');
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : 'no error';
  }
}

const starved = /^StuckError: vCPU 0, .*: the access is sent back again and again/u;

test('an entry that stays LOCKED', async () => {
  const scenario = scenarioOf({ guest: write, hosts: [] });
  expect(await endOf(scenario, 'threads', unmade)).toMatch(starved);
  expect(await endOf(scenario, 'explore', unmade)).toMatch(/deadlock: vCPU 0 retrying on word/u);
});

test('an entry that stays LOCKED, met by a pre-fault', async () => {
  const scenario = scenarioOf({ guest: prefault, hosts: [] });
  expect(await endOf(scenario, 'threads', unmade)).toMatch(starved);
});

test('an invalidation that stays open', async () => {
  const again = { guest: write, hosts: [] };
  const scenario = scenarioOf(again, { guest: null, hosts: [migrate] }, again);
  expect(await endOf(scenario, 'threads', unended)).toMatch(starved);
  expect(await endOf(scenario, 'explore', unended)).toMatch(/deadlock: vCPU 0 retrying on word/u);
});
