/** How long locks may be held: stated, and asserted by the checker of every run under `explore`. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { LockClass } from '../../src/locking/lock-class.ts';
import type { SourceEdit } from '../../src/main/edits.ts';
import { HOLD_BOUNDS, lockClassesOf, type HoldBound } from '../../src/workers/lock-classes.ts';
import { layoutOf, layoutOfVm } from '../../src/workers/layout.ts';
import { runSmall, small, verdictsOf } from '../runs/small.ts';

const WORDS: Readonly<Record<Exclude<keyof HoldBound, 'once'>, string>> = {
  pages: 'page',
  entries: 'entry of a table',
  allEntries: 'entry of all tables',
  frames: 'frame',
  cpus: 'CPU',
  agents: 'agent',
};

/** As docs/locking.md has it. */
function textOf({ once, ...each }: HoldBound): string {
  const more = Object.entries(each).map(
    ([name, n]) => ` + ${n} per ${WORDS[name as keyof typeof WORDS]}`,
  );
  return `${once}${more.join('')}`;
}

test('the table of locks has every class, and the bound that the code has', () => {
  const table = readFileSync('docs/locking.md', 'utf8');
  const classes = Array.from(lockClassesOf(layoutOf(small('userfault'))).values());
  const stated = new Map(
    Array.from(
      table.matchAll(/^\| `(\w+)` \|(?:[^|\n]*\|){3} ([^|\n]+) \|$/gm),
      ([, name, bound]) => [name, bound],
    ),
  );
  const coded = Object.entries(HOLD_BOUNDS).map(([name, bound]) => [name, textOf(bound)] as const);
  const sleeping = classes.filter(({ holdStepsMax }) => holdStepsMax === Infinity);
  expect(stated).toEqual(
    new Map([...coded, ...sleeping.map(({ name }) => [name, 'it may sleep'] as const)]),
  );
});

/** Of some locks, in a run on so many pages. */
function boundsOf(pages: number): number[] {
  const scenario = small('demand-paging');
  const slots = scenario.slots.map((slot) => ({ ...slot, bytes: pages * 4096 }));
  const layout = layoutOf({ ...scenario, slots, frames: pages });
  const classes = lockClassesOf(layout);
  const { mmu_lock, guest_zone, page_table_lock, mn_invalidate_lock } = layout.locks;
  const words = [mmu_lock, guest_zone, page_table_lock, mn_invalidate_lock];
  return words.map((at) => (classes.get(at) as LockClass).holdStepsMax);
}

test('a bound grows with what a hold goes through', () => {
  const [few, many] = [boundsOf(256), boundsOf(512)];
  expect(many.map((bound, i) => bound - (few[i] as number))).toEqual([64 * 256, 8 * 256, 0, 0]);
  expect(few.slice(2)).toEqual([128 + 32 * 512, 16]);
});

test('the locks of every VM have a class', () => {
  const layout = layoutOf(small('shared-cpus'));
  const second = layoutOfVm(layout, 1);
  expect(second.locks.mmu_lock).not.toBe(layout.locks.mmu_lock);
  const classes = lockClassesOf(layout);
  const { locks, rwLocks, slotsLock, slotsSrcu, tablesRcu } = second;
  const words = [locks.mmu_lock, rwLocks.mmap_lock, slotsLock, slotsSrcu, tablesRcu];
  expect(words.map((at) => classes.get(at)?.name)).toEqual([
    'mmu_lock',
    'mmap_lock',
    'slots_lock',
    'slots_srcu',
    'tables_rcu',
  ]);
});

/** The lock of the gate, held for so many loads more. */
const longer = (loads: number): SourceEdit => ({
  file: 'src/kvm/generations/invalidation-gate.ts',
  find: '    yield* signalAdd32(this.#count, 1, Order.once);\n',
  replace: `    yield* signalAdd32(this.#count, 1, Order.once);
    for (let i = 0; i < ${loads}; i++) yield* load32(this.#count, Order.once);\n`,
});

test.each([
  [15, []],
  [16, ['lock-hold']],
])(
  'a hold of a signal and %i loads where 16 operations are the bound: %j',
  async (loads, verdicts) => {
    const scenario = small('demand-paging', { kvm: '6.12' });
    expect(verdictsOf(await runSmall(scenario, { edits: [longer(loads)] }))).toEqual(verdicts);
  },
);
