/** Migration, whole: dirty logs are harvested and pages copied while vCPUs write, and in the end the copy equals guest memory. */
import { drive, fill, read32, write32 } from '#port';
import { describe, expect, test } from 'vitest';
import type { DirtyLogMode } from '../../src/kvm/dirty-log.ts';
import type { SourceEdit } from '../../src/main/edits.ts';
import type { RunResult } from '../../src/main/result.ts';
import { runReport } from '../../src/main/report.ts';
import type { SharedWorld } from '../../src/main/shared-world.ts';
import type { HostProgram, PatternProgram, Phase, Scenario } from '../../src/workers/scenario.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const RAM = 0x4000_0000;
const PAGE = 4096;
const BLOCK = 0x20_0000;
const MODES: readonly DirtyLogMode[] = ['harvest', 'clear', 'clearAllSet'];

/** A run that ended with a complete copy. */
const COPIED = { violations: [], pagesDirty: 0, equal: true };

function endOf({ violations, migration }: RunResult): object {
  return { violations, pagesDirty: migration?.pagesDirty, equal: migration?.equal };
}

const modes = MODES.flatMap((dirtyLog) =>
  (['legacy', '5.10'] as const).map((kvm) => ({ dirtyLog, kvm })),
);

describe.each(modes)('bits cleared by $dirtyLog, kvm $kvm', ({ dirtyLog, kvm }) => {
  test('the copy equals guest memory under explore, twins equal', async () => {
    const result = await runSmall(small('migration', { dirtyLog, kvm, twin: true }), { seeds: 2 });
    expect(endOf(result)).toEqual(COPIED);
    expect(result.twin?.equal).toBe(true);
  });
});

test.each(MODES)(
  'bits cleared by %s: the copy equals guest memory on threads',
  async (dirtyLog) => {
    const result = await runSmall(small('migration', { dirtyLog, repeat: 3 }), {
      engine: 'threads',
    });
    expect(endOf(result)).toEqual(COPIED);
  },
);

const touch = (overrides: Partial<PatternProgram> = {}): PatternProgram => ({
  kind: 'pattern',
  pattern: 'random',
  slot: 0,
  region: 'shared',
  touches: 12,
  writes: 1,
  stride: 1,
  exponent: 1,
  ...overrides,
});
const during = (...hosts: readonly HostProgram[]): Phase => ({
  name: 'run',
  guest: touch(),
  hosts,
});
const between = (...hosts: readonly HostProgram[]): Phase => ({ name: 'host', guest: null, hosts });

const harvest = { action: 'harvest', slot: 0, times: 1, delay: 1 } as const;
const start = { ...harvest, action: 'log-start' } as const;
const stop = { ...harvest, action: 'log-stop' } as const;
const harvests = { ...harvest, times: null } as const;

/** One slot of eight pages. */
function scenarioOf(overrides: Partial<Scenario>): Scenario {
  const slots = [{ base: RAM, bytes: 8 * PAGE, logging: false }];
  return small('demand-paging', {
    slots,
    frames: 24,
    setup: [],
    rounds: [],
    ending: [],
    repeat: 1,
    ...overrides,
  });
}

const logging = [{ base: RAM, bytes: 8 * PAGE, logging: true }];

describe('what a harvest copies', () => {
  test('all of a slot whose log has just begun, then what was written, then nothing', async () => {
    const counts: unknown[] = [];
    const phases = [during(), between(start), between(harvest), during(), between(harvest)];
    for (const upTo of [3, 5, 6]) {
      const setup = [...phases, between(harvest)].slice(0, upTo);
      const result = await runSmall(scenarioOf({ setup, vcpus: 1 }));
      expect(endOf(result)).toEqual(COPIED);
      counts.push([result.migration?.harvests, result.migration?.pagesCopied]);
    }
    const written = ((counts[1] as number[])[1] ?? 0) - 8;
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(9);
    expect(counts).toEqual([
      [1, 8],
      [2, 8 + written],
      [3, 8 + written],
    ]);
  });

  test('of a slot that logs from its creation only what was written', async () => {
    const one = touch({ pattern: 'sequential', touches: 3 });
    const setup: Phase[] = [{ name: 'run', guest: one, hosts: [] }, between(harvest)];
    const result = await runSmall(scenarioOf({ slots: logging, setup }));
    expect(endOf(result)).toEqual(COPIED);
    expect(result.migration).toMatchObject({ harvests: 1, pagesCopied: 3 });
    expect(runReport(result)).toContain(
      'dirty logs: 1 harvest copied 3 pages; 0 pages still dirty, the copy equals guest memory',
    );
  });

  test('a log that was off in between is copied as a whole again', async () => {
    const setup = [between(start), during(harvests), between(harvest), between(stop), during()];
    const off = await runSmall(scenarioOf({ setup, ending: [between(harvest)] }));
    // Nobody logs: that the copy is old violates nothing.
    expect([off.ok, off.migration?.equal, off.migration?.pagesDirty]).toEqual([true, false, 0]);
    const ending = [between(start), between(harvest)];
    expect(endOf(await runSmall(scenarioOf({ setup, ending })))).toEqual(COPIED);
  });

  test('what is still dirty at the end is counted, and no violation', async () => {
    const setup = [during(), between(start), between(harvest), during()];
    const { ok, migration } = await runSmall(scenarioOf({ setup }));
    expect([ok, migration?.equal]).toEqual([true, false]);
    expect(migration?.pagesDirty).toBeGreaterThan(0);
  });

  test.each(MODES)('blocks, which a write dissolves (%s)', async (dirtyLog) => {
    const backing = { kind: 'transparentHuge', pageBytes: PAGE, offset: 0 } as const;
    const slots = [{ base: RAM, bytes: BLOCK, logging: false, backing }];
    const setup = [during(), between(start)];
    const rounds = [during(harvests)];
    const ending = [between(harvest)];
    const course = { slots, setup, rounds, ending, dirtyLog, repeat: 2 };
    const scenario = scenarioOf({ ...course, frames: 1536, contents: 'line' });
    const result = await runSmall(scenario);
    expect(endOf(result)).toEqual(COPIED);
    expect(result.migration?.pagesCopied).toBeGreaterThan(512);
    expect(result.tables.leaves['2M']).toBe(0);
  });

  test.each(MODES)(
    'while the host moves the pages, and logging goes on and off (%s)',
    async (dirtyLog) => {
      const moves = (['migrate', 'swap', 'merge', 'protect'] as const).map(
        (action): HostProgram => {
          return { action, slot: 0, pages: 3, times: null, delay: 1 };
        },
      );
      const guest = touch({ writes: 0.7, touches: 25 });
      // No harvest at the end, which would hide what was missed before.
      const course = { setup: [during()], dirtyLog };
      const rounds = [
        { name: 'run', guest, hosts: [start, harvests, { ...stop, times: 2 }, ...moves] },
      ];
      const result = await runSmall(scenarioOf({ ...course, rounds }), { seeds: 6 });
      expect(result.violations).toEqual([]);
      expect(result.migration?.pagesCopied).toBeGreaterThan(8);
    },
  );
});

type Breakage = (shared: SharedWorld) => void;

/** Clears the dirty bits of a slot behind everybody's back. */
const clean: Breakage = ({ layout }) => {
  const at = layout.memslots.bitmaps[0]?.at ?? 0;
  drive(fill(at, 8, 0));
};

const flipCopy =
  (byte: number): Breakage =>
  ({ layout }) => {
    const at = (layout.slotLogs[0]?.copy ?? 0) + 2 * PAGE + byte;
    write32(at, read32(at) ^ 1);
  };

const written: Phase = {
  name: 'run',
  guest: touch({ pattern: 'sequential', touches: 8 }),
  hosts: [],
};

describe('the verification', () => {
  test.each([
    ['logs from its creation', logging, []],
    ['began to log', scenarioOf({}).slots, [between(start)]],
    ['was write-protected', scenarioOf({}).slots, [between({ action: 'write-protect', times: 1 })]],
  ])('wants every page dirty that was written after its slot %s', async (_, slots, setup) => {
    const scenario = scenarioOf({ slots, setup, rounds: [written], vcpus: 1 });
    expect((await runSmall(scenario)).violations).toEqual([]);
    const { violations } = await runSmall(scenario, {}, { beforeVerify: clean });
    const lost = violations.filter(({ message }) => message.includes('came while the slot logged'));
    expect(lost.map(({ verdict }) => verdict)).toEqual(
      Array.from({ length: 8 }, () => 'dirty-lost'),
    );
    expect(lost[3]?.message).toBe(
      'IPA 0x40003000 is not dirty: write 4 of vCPU 0 came while the slot logged',
    );
  });

  test('does not ask for writes from before the log began', async () => {
    const scenario = scenarioOf({ setup: [written, between(start)] });
    expect((await runSmall(scenario, {}, { beforeVerify: clean })).violations).toEqual([]);
  });

  test.each([
    [8, 'the copy lacks write 3 of vCPU 1, at byte 8 of the page'],
    [4092, 'the copy lacks write 0 of vCPU 511, at byte 4092 of the page'],
  ])('compares byte %i of the copy', async (byte, text) => {
    const scenario = scenarioOf({ slots: logging, rounds: [written], ending: [between(harvest)] });
    const { violations, migration } = await runSmall(
      scenario,
      {},
      { beforeVerify: flipCopy(byte) },
    );
    const message = `IPA 0x40002000 is not dirty: ${text}`;
    expect(violations).toMatchObject([{ verdict: 'dirty-lost', message }]);
    expect(migration?.equal).toBe(false);
  });

  test('lets a discard change what nobody wrote since', async () => {
    const ending = [between(harvest), between({ action: 'discard', times: 1 })];
    const { ok, migration } = await runSmall(
      scenarioOf({ slots: logging, rounds: [written], ending }),
    );
    expect([ok, migration?.equal]).toEqual([true, false]);
  });
});

const DIRTY_LOG = 'src/kvm/dirty-log.ts';

const defects: readonly (readonly [string, DirtyLogMode, SourceEdit])[] = [
  [
    'bits taken after the pages were protected, without the lock',
    'harvest',
    {
      file: DIRTY_LOG,
      find: 'yield* takeAndProtect(vm, slot, 0, bitmap.words);',
      replace:
        'yield* writeProtectSlotLocked(vm, slot); for (let word = 0; word < bitmap.words; word++) bitmap.writeScratch(word, yield* bitmap.fetchAndClear(word, EVERYTHING));',
    },
  ],
  ...(['harvest', 'clear'] as const).map((mode): readonly [string, DirtyLogMode, SourceEdit] => [
    'no flush after the pages were protected',
    mode,
    { file: DIRTY_LOG, find: 'if (isFlushDue) yield* mmu.tlbFlushVmid();', replace: 'void mmu;' },
  ]),
  [
    'no dirty bit set by a write fault',
    'clear',
    {
      file: 'src/kvm/user-mem-abort.ts',
      find: 'if (ring === null) yield* slot.markDirty(gfn);',
      replace: 'if (ring === null) void slot;',
    },
  ],
  [
    'only the lowest page of a word protected',
    'harvest',
    {
      file: DIRTY_LOG,
      find: '(last - first + 1) * slot.pageBytes',
      replace: 'slot.pageBytes + 0 * last',
    },
  ],
];

/** The programs of a host in each of two VMs. */
const inBoth = (phase: Phase): Phase => ({
  ...phase,
  hosts: phase.hosts.flatMap((program) => [program, program]),
});

test('a log of each of two VMs is harvested, and each is looked at', async () => {
  const { setup, rounds, ending, ...rest } = small('migration', { vcpus: 4 });
  const course = { setup, rounds: rounds.map(inBoth), ending: ending.map(inBoth) };
  const scenario = { ...rest, ...course, vms: 2 };
  expect(endOf(await runSmall(scenario))).toEqual(COPIED);
  const [edit] = defects.flatMap(([name, , each]) => (name.startsWith('no flush') ? [each] : []));
  const { violations } = await runSmall(scenario, { seeds: 10, edits: edit ? [edit] : [] });
  expect(violations.map(({ message }) => message)).toContainEqual(
    expect.stringMatching(/^VM 1: IPA 0x\w+ is not dirty/),
  );
});

describe('it finds', () => {
  test.each(defects)('%s (%s)', async (_, dirtyLog, edit) => {
    const result = await runSmall(small('migration', { dirtyLog }), { seeds: 40, edits: [edit] });
    expect(verdictsOf(result)).toContain('dirty-lost');
  });

  test('no flush when a log begins, where nobody harvests', async () => {
    const edit = {
      file: DIRTY_LOG,
      find: '  yield* vm.parts.mmu.tlbFlushVmid();\n  yield* vm.parts.splitter',
      replace: '  yield* vm.parts.splitter',
    };
    const scenario = scenarioOf({ setup: [written, between(start)], rounds: [written] });
    const result = await runSmall(scenario, { edits: [edit] });
    expect(verdictsOf(result)).toContain('dirty-lost');
    expect((await runSmall(scenario)).violations).toEqual([]);
  });

  test('a page copied before its bit is taken', async () => {
    const edit = {
      file: 'src/workers/harvest.ts',
      find: '  const log = checked(yield* getDirtyLog(vm, id));',
      replace:
        '  for (let page = 0; page < slot.pages; page++) yield* copyPage(world, slot, page, copyAt(world, state, page));\n' +
        '  const log = checked(yield* getDirtyLog(vm, id)); if (log !== null) return;',
    };
    const scenario = scenarioOf({ slots: logging, rounds: [during(harvests)] });
    const result = await runSmall(scenario, { seeds: 40, edits: [edit] });
    expect(verdictsOf(result)).toContain('dirty-lost');
    const { count } = result.seeds;
    expect((await runSmall(scenario, { seeds: count })).violations).toEqual([]);
  });
});
