/** Verification after a run: each thing broken by hand is found, under its own name and no other. */
import { drive, read32, store64, Order, write32 } from '#port';
import { describe, expect, test } from 'vitest';
import type { Gfn, Phys } from '../../src/machine/address.ts';
import { Attributes, Descriptor, NO_ATTRIBUTES, S2_LO } from '../../src/machine/descriptor.ts';
import { main } from '../../src/main/program.ts';
import type { RunOptions } from '../../src/main/run-options.ts';
import { runWorkload } from '../../src/main/run.ts';
import type { SharedWorld } from '../../src/main/shared-world.ts';
import { referenceOf } from '../../src/main/verify/reference.ts';
import { FINDINGS_MAX } from '../../src/main/verify/verify.ts';
import { statisticsOf } from '../../src/workers/layout.ts';
import { Touch } from '../../src/workers/program.ts';
import type { Phase, Scenario } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { fakeIo } from '../main/fake-io.ts';
import { pathOf, plant, type PathEntry } from '../support/lab.ts';
import { runSmall, small, verdictsOf } from './small.ts';

const FIRST = 0x4000_0000;
const PAGE = 4096;
const W = new Attributes(S2_LO.S2AP_W, 0);

type Breakage = (shared: SharedWorld) => void;

const leafOf = (shared: SharedWorld, ipa: number): PathEntry =>
  pathOf(shared.world, ipa).at(-1) as PathEntry;

/** Changes the leaf of an address. */
function changeLeaf(ipa: number, change: (leaf: Descriptor) => Descriptor): Breakage {
  return (shared) => {
    const { at, value, level } = leafOf(shared, ipa);
    expect([level, value.isValid()]).toEqual([3, true]);
    plant(at, change(value));
  };
}

const hostFrame = ({ world }: SharedWorld, page: number): Phys => {
  const slot = world.vm.parts.memslots.slots[0];
  return slot === undefined
    ? (0 as Phys)
    : world.vm.parts.host.lookup(slot.hvaOf((FIRST / PAGE + page) as Gfn));
};

/** A valid leaf where none was, counted as the table counts. */
function addLeaf(ipa: number): Breakage {
  return (shared) => {
    const { at, table } = leafOf(shared, ipa);
    const attributes = leafOf(shared, FIRST).value;
    plant(at, new Descriptor(attributes.lo, attributes.hi));
    drive(shared.world.memory.tables.get(table));
  };
}

/** A leaf goes, and with it its reference. */
function removeLeaf(ipa: number): Breakage {
  return (shared) => {
    const { at, table, value } = leafOf(shared, ipa);
    plant(at, value.invalidated());
    drive(shared.world.memory.tables.put(table));
  };
}

/** Hands out a frame of a zone behind the host's back. */
function loseFrame(zone: 'guest' | 'tables'): Breakage {
  return ({ world }) => {
    const { state } = world.memory[zone].layout;
    write32(state, read32(state) + 1);
  };
}

function overwrite(page: number, vcpu: number, lo: number, hi: number): Breakage {
  return (shared) => {
    const at = shared.world.memory.wordOf(hostFrame(shared, page)) + vcpu * 8;
    drive(store64(at, lo, hi, Order.once));
  };
}

const breakages: readonly (readonly [string, Breakage, readonly string[]])[] = [
  ['nothing', () => {}, []],
  [
    'W taken from a leaf',
    changeLeaf(FIRST, (leaf) => leaf.withAttributes(NO_ATTRIBUTES, W)),
    ['wrong-leaf', 'digest'],
  ],
  [
    'the page of another address',
    changeLeaf(FIRST, ({ lo, hi }) => new Descriptor(lo ^ PAGE, hi)),
    ['wrong-leaf', 'digest'],
  ],
  [
    'AF taken from a leaf',
    changeLeaf(FIRST + PAGE, (leaf) =>
      leaf.withAttributes(NO_ATTRIBUTES, new Attributes(S2_LO.AF, 0)),
    ),
    ['wrong-leaf', 'digest'],
  ],
  [
    'X given to a leaf',
    changeLeaf(FIRST, ({ lo }) => new Descriptor(lo, 0)),
    ['wrong-leaf', 'digest'],
  ],
  ['a leaf behind the slot', addLeaf(FIRST + 8 * PAGE), ['stray-leaf', 'digest']],
  ['a leaf missing', removeLeaf(FIRST + 7 * PAGE), ['missing-leaf', 'digest']],
  [
    'a reference too many on the L3 table',
    (shared) => drive(shared.world.memory.tables.get(leafOf(shared, FIRST).table)),
    ['reference-count'],
  ],
  [
    'a reference too many on the second page of the root',
    ({ world }) => drive(world.memory.tables.get((world.memory.tables.layout.base + PAGE) as Phys)),
    ['reference-count'],
  ],
  ['a guest frame lost', loseFrame('guest'), ['frame-lost']],
  ['a table page lost', loseFrame('tables'), ['frame-lost']],
  [
    'a guest frame that stays pinned',
    (shared) => drive(shared.world.memory.guest.get(hostFrame(shared, 2))),
    ['frame-pinned'],
  ],
  ['an older write in a word', overwrite(0, 1, 1, 2), ['lost-write']],
  [
    "the right write under another vCPU's name",
    (shared) => write32(shared.world.memory.wordOf(hostFrame(shared, 7)) + 4, 2),
    ['lost-write'],
  ],
  ['a word of zeros', overwrite(3, 0, 0, 0), ['lost-write']],
  [
    'a notifier left open',
    ({ layout }) => write32(layout.words.notifierCount, 1),
    ['notifier-open'],
  ],
  [
    'a page that the host forgot, its frame and all',
    (shared) => {
      const frame = hostFrame(shared, 0);
      write32(shared.layout.host.levels[0]?.entries ?? 0, 0);
      drive(shared.world.memory.guest.put(frame));
    },
    // What both vCPUs wrote there is gone with it.
    ['page-lost', 'digest', 'lost-write', 'lost-write'],
  ],
  [
    'a log entry of a page that was not touched since it was discarded',
    ({ layout }) => write32(layout.words.discardEpoch, 1),
    [...Array.from({ length: 8 }, () => 'stray-leaf'), 'digest'],
  ],
];

const overwriteAll: Breakage = (shared) => {
  for (let page = 0; page < 24; page++) overwrite(page, 0, 999, 1)(shared);
};

describe('permission-storm, afterwards', () => {
  test.each(breakages)('%s', async (_, beforeVerify, verdicts) => {
    const result = await runSmall(small('permission-storm'), {}, { beforeVerify });
    expect(verdictsOf(result)).toEqual(verdicts);
    expect(result.ok).toBe(verdicts.length === 0);
  });

  test('a violation names the entry and the command that runs it again; later seeds are not run', async () => {
    const beforeVerify = changeLeaf(FIRST, (leaf) => leaf.withAttributes(NO_ATTRIBUTES, W));
    const result = await runSmall(
      small('permission-storm'),
      { seed: 7, seeds: 5 },
      { beforeVerify },
    );
    expect(result.seeds).toEqual({ first: 7, count: 1 });
    const [leaf] = result.violations;
    expect(leaf?.schedule).toBe(
      'faultline run permission-storm --kvm 5.10 -v 2 --engine explore --seed 7',
    );
    expect(leaf?.message).toMatch(
      /^IPA 0x40000000 level 3 entry 0x4000008000(?<page>.)77f \(OA 0x8000\k<page>000 R - - AF\): expected 0x4000008000\k<page>7ff$/,
    );
  });

  test('on threads too, where nothing replays it', async () => {
    const options = { engine: 'threads', seeds: 3 } as const;
    const beforeVerify = loseFrame('guest');
    const { seeds, violations } = await runSmall(small('permission-storm'), options, {
      beforeVerify,
    });
    expect(seeds.count).toBe(1);
    expect(violations).toMatchObject([{ verdict: 'frame-lost', schedule: '' }]);
  });

  test('only so many findings are shown, the rest is counted', async () => {
    const slots = [{ base: FIRST, bytes: 24 * PAGE, logging: false }];
    const scenario = small('permission-storm', { slots, frames: 24 });
    const result = await runSmall(scenario, {}, { beforeVerify: overwriteAll });
    expect(result.violations).toHaveLength(FINDINGS_MAX + 1);
    expect(result.violations.at(-1)).toMatchObject({
      verdict: 'more',
      message: '4 further findings of this run are not shown',
    });
  });
});

/** Writes everything, write-protects, and then everybody only reads. */
function readAfterProtect(): Scenario {
  const scenario = small('permission-storm');
  const rounds = scenario.rounds.map((phase): Phase => {
    const { guest } = phase;
    return guest?.kind === 'pattern' ? { ...phase, guest: { ...guest, writes: 0 } } : phase;
  });
  return { ...scenario, rounds };
}

const grantWrite = changeLeaf(FIRST, (leaf) => leaf.withAttributes(W, NO_ATTRIBUTES));

const alone = (phase: Phase): Phase => ({ ...phase, hosts: [] });

/** Gives W to the first leaf that may not have it. */
const grantSome: Breakage = (shared) => {
  const page = referenceOf(shared.world).find(({ writable }) => !writable);
  changeLeaf(page?.ipa ?? 0, (leaf) => leaf.withAttributes(W, NO_ATTRIBUTES))(shared);
};

describe('W that nobody asked for since the write-protection', () => {
  test('is found where the table has to be exact', async () => {
    const scenario = readAfterProtect();
    const clean = await runSmall(scenario);
    expect([clean.ok, clean.check.digest]).toEqual([true, 'exact']);
    const result = await runSmall(scenario, {}, { beforeVerify: grantWrite });
    expect(verdictsOf(result)).toEqual(['write-not-allowed', 'digest']);
  });

  test('is found where W may be missing, in write-protect', async () => {
    const options = { seed: 3 };
    const result = await runSmall(small('write-protect'), options, { beforeVerify: grantSome });
    expect(verdictsOf(result)).toEqual(['write-not-allowed']);
    expect(result.check.digest).toBe('after-write-protect');
  });

  test('is no finding where W is only missing, in write-protect', async () => {
    const scenario = small('write-protect');
    // W is left only by a phase without the host.
    const rounds = [...scenario.rounds, ...scenario.rounds.map(alone)];
    let taken = 0;
    const beforeVerify: Breakage = (shared) => {
      const page = referenceOf(shared.world).find(({ ipa }) =>
        leafOf(shared, ipa).value.isWritable(),
      );
      if (page === undefined) return;
      taken++;
      changeLeaf(page.ipa, (leaf) => leaf.withAttributes(NO_ATTRIBUTES, W))(shared);
    };
    const result = await runSmall({ ...scenario, rounds }, { seeds: 5 }, { beforeVerify });
    expect(verdictsOf(result)).toEqual([]);
    expect([taken, result.check.digest]).toEqual([5, 'after-write-protect']);
  });

  test('and another bit that is wrong there is found in the digest after write-protecting', async () => {
    const beforeVerify = changeLeaf(FIRST, ({ lo }) => new Descriptor(lo, 0));
    const result = await runSmall(small('write-protect'), { seed: 3 }, { beforeVerify });
    expect(verdictsOf(result)).toEqual(['wrong-leaf', 'digest']);
  });
});

/** Turns the entry of the L3 table into a block of 2 MiB. */
const plantBlock: Breakage = (shared) => {
  const [, level2] = pathOf(shared.world, FIRST) as [PathEntry, PathEntry];
  const { value } = leafOf(shared, FIRST);
  plant(level2.at, new Descriptor(value.lo & ~0x1f_f002, value.hi));
};

test('a block where a page belongs', async () => {
  const result = await runSmall(small('permission-storm'), {}, { beforeVerify: plantBlock });
  // The L3 table is out of reach: its page and seven of its leaves are gone.
  const missing = Array.from({ length: 7 }, () => 'missing-leaf');
  expect(verdictsOf(result)).toEqual(['wrong-leaf', ...missing, 'digest', 'frame-lost']);
  expect(result.violations[0]?.message).toMatch(/ level 2 .*: a page was expected$/);
});

const plantStaleReads: Breakage = ({ memory, layout }) => {
  const floats = new Float64Array(memory.buffer);
  const at = statisticsOf(layout, 1);
  floats[(at + STATISTICS.staleReads) / 8] = 3;
  floats[(at + STATISTICS.firstStalePage) / 8] = 5;
  write32(layout.words.notifierCount, 1);
};

test('reads that were stale, vCPU by vCPU, before everything else', async () => {
  const hooks = { beforeVerify: plantStaleReads };
  const { violations } = await runSmall(small('permission-storm'), { seed: 9 }, hooks);
  expect(violations.map(({ verdict }) => verdict)).toEqual(['stale-read', 'notifier-open']);
  expect(violations[0]).toEqual({
    verdict: 'stale-read',
    message:
      '3 reads of vCPU 1 did not see its own last acknowledged write, the first at IPA 0x40005000',
    schedule: 'faultline run permission-storm --kvm 5.10 -v 2 --engine explore --seed 9',
  });
});

test('on the command line a violation is printed and ends with status 1', async () => {
  const io = fakeIo();
  const status = await main(['run', 'permission-storm', '--engine', 'explore'], io, {
    runWorkload: (scenario, options: RunOptions) =>
      runWorkload(scenario, options, { beforeVerify: loseFrame('guest') }),
    bench: () => Promise.reject(new Error('not asked for')),
  });
  expect([status, io.err()]).toEqual([1, '']);
  expect(io.out()).toContain('frame-lost');
  expect(io.out()).toContain(
    '\nagain: faultline run permission-storm --kvm 5.10 -v 2 --engine explore --seed 1\n',
  );
});

test('executed pages are expected to be executable, and only those', async () => {
  const trace = {
    kind: 'trace',
    pages: Uint32Array.of(FIRST / PAGE, FIRST / PAGE + 1),
    kinds: Uint8Array.of(Touch.exec, Touch.read),
    vcpuPages: 0,
  } as const;
  const rounds = [{ name: 'trace', guest: trace, hosts: [] }];
  const scenario = small('permission-storm', { rounds, setup: [] });
  expect((await runSmall(scenario)).ok).toBe(true);
  const beforeVerify = changeLeaf(FIRST + PAGE, ({ lo }) => new Descriptor(lo, 0));
  const result = await runSmall(scenario, {}, { beforeVerify });
  expect(verdictsOf(result)).toEqual(['wrong-leaf', 'digest']);
});
