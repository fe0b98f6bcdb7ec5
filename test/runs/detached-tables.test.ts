/**
 * Tables that blocks replace while other vCPUs may be in them: blocks are split as a log begins, and come back with writes after it ended.
 * Good and bad differ by one edit.
 */
import { describe, expect, test } from 'vitest';
import { RandomWalk } from '../../src/explore/random-walk.ts';
import type { VmaKind } from '../../src/kvm/host/vma.ts';
import { VmSubject } from '../../src/main/explore/vm-subject.ts';
import { LINE_BYTES } from '../../src/locking/turn-slots.ts';
import { layoutOf } from '../../src/workers/layout.ts';
import type { PatternProgram, Scenario, Slot } from '../../src/workers/scenario.ts';
import { exploreAll } from '../explore/subjects.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const BLOCK = 2 ** 21;

function relogged(): Scenario {
  const pace = { slot: 0, times: null, delay: 2 } as const;
  const guest = {
    kind: 'pattern',
    pattern: 'random',
    slot: 0,
    region: 'shared',
    touches: 200,
    writes: 0.5,
    stride: 1,
    exponent: 1,
  } as const;
  return small('migration', {
    kvm: '6.12',
    vcpus: 2,
    frames: 1024,
    contents: 'line',
    slots: [
      {
        base: 0x4000_0000,
        bytes: BLOCK,
        logging: false,
        backing: { kind: 'hugetlb', pageBytes: BLOCK, offset: 0 },
      },
    ],
    setup: [],
    rounds: [
      {
        name: 'relog',
        guest,
        hosts: [
          { action: 'log-start', ...pace },
          { action: 'log-stop', ...pace },
        ],
      },
    ],
    repeat: 1,
    ending: [],
  });
}

describe.each(['explore', 'threads'] as const)('on %s', (engine) => {
  test('a daemon frees what was replaced', async () => {
    const result = await runSmall(relogged(), { engine, seeds: 2 });
    expect(verdictsOf(result)).toEqual([]);
    const periods = result.locks.find(
      ({ name, mode }) => name === 'tables_rcu' && mode === 'write',
    );
    expect(periods?.acquisitions).toBeGreaterThan(0);
  });
});

test.each([
  {
    what: 'at once',
    file: 'src/kvm/stage2-mmu.ts',
    find: 'yield* this.#sections.defer(this.zone.recordOf(table, level));',
    replace: 'yield* super.freeUnlinkedTable(table, level);',
    // In the section of the walk that replaced it, which is meant to be short.
    verdicts: ['lock-hold', 'table-freed'],
  },
  {
    what: 'never',
    file: 'src/kvm/generations/walk-sections.ts',
    find: 'yield* this.#rcu.call(record);',
    replace: '',
    verdicts: ['frame-lost'],
  },
])('a table that is freed $what', async ({ verdicts, ...edit }) => {
  const result = await runSmall(relogged(), { seeds: 1, edits: [edit] });
  expect(verdictsOf(result)).toEqual(verdicts);
});

test('nothing is left after a phase that is explored alone', () => {
  const scenario = relogged();
  const host = { slot: 0, times: 1, delay: 0 } as const;
  const [round] = scenario.rounds;
  const guest = { ...round?.guest, touches: 2 } as PatternProgram;
  const phased: Scenario = {
    ...scenario,
    setup: [
      { name: 'start', guest: null, hosts: [{ action: 'log-start', ...host }] },
      { name: 'pages', guest: { ...guest, touches: 20, writes: 0 }, hosts: [] },
      { name: 'stop', guest: null, hosts: [{ action: 'log-stop', ...host }] },
    ],
    rounds: [{ name: 'blocks', guest: { ...guest, writes: 1 }, hosts: [] }],
  };
  const subject = new VmSubject(phased, 1);
  const limits = { schedules: 10, stepsOfOne: 10_000 };
  const { explorer } = exploreAll(subject, () => new RandomWalk(1), limits);
  expect(explorer.failures.size).toBe(0);
  expect(explorer.schedules).toBe(10);
  const reclaimed = layoutOf(phased).tablesRcu + 3 * LINE_BYTES;
  expect(subject.words[reclaimed / 4]).toBe(1);
});

test('the daemon is there where a block may replace a table, and nowhere else', () => {
  const scenario = relogged();
  const [slot] = scenario.slots as [Slot];
  const backedBy = (kind: VmaKind): Scenario => {
    return { ...scenario, slots: [{ ...slot, backing: { kind, pageBytes: 4096, offset: 0 } }] };
  };
  const plain = backedBy('anonymous');
  const transparent = backedBy('transparentHuge');
  const collapse = { action: 'collapse', slot: 0, pages: null, times: 1, delay: 0 } as const;
  const collapsed = {
    ...plain,
    rounds: [{ name: 'collapse', guest: null, hosts: [collapse] }],
  };
  const early = { ...scenario, kvm: '5.18' } as const;
  const daemons = [scenario, transparent, collapsed, plain, early].map(
    (each) => layoutOf(each).daemons,
  );
  expect(daemons).toEqual([1, 1, 1, 0, 0]);
});
