/** Userfaults in whole runs: how many there are, and what is found when a rule of theirs is broken. */
import { describe, expect, test } from 'vitest';
import type { SourceEdit } from '../../src/main/edits.ts';
import { StuckError } from '../../src/main/user-error.ts';
import type { PatternProgram, Scenario, SlotUserfault } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const PAGES = 3;

/** Guests that write every page of one slot once, served by one agent for each queue. */
function once(
  userfault: SlotUserfault,
  slot: Partial<Scenario['slots'][number]> = {},
  more: Partial<PatternProgram> = {},
): Scenario {
  const base = small('snapshot-resume');
  const queues = { shared: 1, 'per-vcpu': base.vcpus, exit: 0 }[userfault.queue];
  const hosts = Array.from({ length: queues }, (_, queue) => ({
    action: 'userfault' as const,
    slot: 0,
    queue,
    delaySteps: 2,
  }));
  const guest = {
    kind: 'pattern',
    pattern: 'sequential',
    slot: 0,
    region: 'shared',
    touches: null,
    writes: 1,
    stride: 1,
    exponent: 1,
    ...more,
  } as const;
  return {
    ...base,
    slots: [{ base: 0x4000_0000, bytes: PAGES * 4096, logging: false, userfault, ...slot }],
    setup: [],
    rounds: [{ name: 'once', guest, hosts }],
  };
}

const SHARED = { backing: { kind: 'shared', pageBytes: 4096, offset: 0 } } as const;

describe.each(['explore', 'threads'] as const)('on %s', (engine) => {
  test.each([
    { mode: 'missing', queue: 'shared', slot: {} },
    { mode: 'missing', queue: 'per-vcpu', slot: { snapshot: true } },
    { mode: 'missing', queue: 'exit', slot: { ...SHARED, snapshot: true } },
    { mode: 'minor', queue: 'shared', slot: { ...SHARED, snapshot: true } },
    { mode: 'minor', queue: 'exit', slot: { ...SHARED, snapshot: true } },
  ] as const)('$mode pages, queue $queue', async ({ mode, queue, slot }) => {
    const result = await runSmall(once({ mode, queue }, slot), { engine, seeds: 5 });
    expect(result.violations).toEqual([]);
    expect(result.tables.leaves['4K']).toBe(PAGES);
    // A lock of the queues is taken where there are queues: once for each fault, message and wake-up at least.
    const lock = result.locks.find(({ name }) => name === 'userfault_queue');
    const least = queue === 'exit' ? 0 : 5 * PAGES * 3;
    expect(lock?.acquisitions ?? 0).toBeGreaterThanOrEqual(least);
    expect(lock === undefined).toBe(queue === 'exit');
  });
});

test('an agent of the host can be a handler in a phase without a guest: it ends at once', async () => {
  const scenario = once({ mode: 'missing', queue: 'shared' });
  const idle = scenario.rounds.map((phase) => ({ ...phase, guest: null, name: 'idle' }));
  const rounds = [...idle, ...scenario.rounds, ...idle];
  const { violations } = await runSmall({ ...scenario, rounds }, { seeds: 5 });
  expect(violations).toEqual([]);
});

const HOST = 'src/kvm/host';

/** Verdicts of 50 seeds, or why a run does not end. */
async function endOf(edit: SourceEdit, scenario: Scenario): Promise<readonly string[]> {
  try {
    return verdictsOf(await runSmall(scenario, { seeds: 50, edits: [edit] }));
  } catch (error) {
    if (!(error instanceof StuckError)) throw error;
    return [/deadlock|livelock/u.exec(error.message)?.[0] ?? error.message];
  }
}

const MISSING = { mode: 'missing', queue: 'shared' } as const;
const together = once(MISSING);
const apart = once(MISSING, { bytes: 8 * 4096 }, { region: 'partitioned' });
const readers = once(MISSING, { snapshot: true }, { writes: 0 });
const twoQueues = once({ mode: 'missing', queue: 'per-vcpu' });

const forgetful: SourceEdit = {
  file: `${HOST}/userfault-queue.ts`,
  find: 'if (page >= range.first && page < range.first + range.pages) {',
  replace:
    'if (page >= range.first && page < range.first + range.pages && read32(this.#record(agent)) === 1) {',
};

test('a deadlock says what those hold that wait', async () => {
  await expect(runSmall(apart, { edits: [forgetful] })).rejects.toThrow(
    /: deadlock: .*; vCPU 0 holds slots_srcu \(read\); vCPU 1 holds slots_srcu \(read\)$/,
  );
});

test.each([
  {
    name: 'a fault on a registered page that user space never hears of',
    edit: {
      file: `${HOST}/fault.ts`,
      find: "  if (isUserfault) return 'userfault';\n",
      replace: '',
    },
    scenario: together,
    end: 'userfault-bypassed',
  },
  {
    name: 'a wake-up that forgets those whose message a handler has',
    edit: forgetful,
    scenario: apart,
    end: 'deadlock',
  },
  {
    name: 'a page brought over the one that is there',
    edit: {
      file: `${HOST}/userfault-resolve.ts`,
      find: '  const isEmpty = table.find(hva).pte === NO_PTE;\n  if (isEmpty) {\n    yield* table.setLocked(hva, LAST_LEVEL, pte);',
      replace:
        '  const isEmpty = table.find(hva).pte !== 1;\n  if (isEmpty) {\n    yield* table.setLocked(hva, LAST_LEVEL, pte);',
    },
    scenario: twoQueues,
    end: 'userfault-twice',
  },
  {
    name: 'the contents of another page of the snapshot',
    edit: {
      file: 'src/workers/userfaults.ts',
      find: 'this.#contents.wordOf(this.#pageOf(slot, area, hva))',
      replace: 'this.#contents.wordOf(0)',
    },
    scenario: readers,
    end: 'lost-write',
  },
  {
    name: 'handlers that leave as soon as nobody waits',
    edit: {
      file: 'src/workers/userfaults.ts',
      find: '+ parties - handlersOf(phase);',
      replace: '+ 0;',
    },
    scenario: apart,
    end: 'deadlock',
  },
  {
    name: 'nobody who tells handlers that all are done',
    edit: {
      file: 'src/workers/userfaults.ts',
      find: 'if ((before % parties) + 1 === parties - handlers) yield* this.#ring(phase);',
      replace: 'if (before < 0) yield* this.#ring(phase);',
    },
    scenario: apart,
    end: 'deadlock',
  },
])('$name: $end', async ({ edit, end, scenario }) => {
  expect(await endOf(edit, scenario)).toContain(end);
});
