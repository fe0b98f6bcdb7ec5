/** user_mem_abort step by step (specification 5E): each step that can end a fault, each way to a retry, what is mapped, and in which order. */
import { drive } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { ProfileName } from '../../src/kvm/profile.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { only, type Seen } from '../support/lab.ts';
import {
  AbortBench,
  HVA,
  INSTRUCTION_ABORT,
  IPA,
  PHYS,
  type AbortBenchOptions,
  type Moment,
  type Syndrome,
} from './abort-bench.ts';

const PAGE = 0x1000;
const M2 = 0x20_0000;
const G1 = 0x4000_0000;
/** The third page of a block. */
const AT = IPA + 2 * PAGE;
const hex = (address: number): string => address.toString(16);
const SLOT = { bytes: 4 * G1 };
const LOGGING = { ...SLOT, isLogging: true };
const HUGE_2M = { kind: 'hugetlb', hugeBytes: M2 } as const;
const HUGE_1G = { kind: 'hugetlb', hugeBytes: G1 } as const;
const THP = { kind: 'transparentHuge' } as const;
const HOST_BLOCK = { level: 2 } as const;
const DEVICE = { status: 'device' } as const;
const READ_ONLY_HOST = { isWritable: false } as const;

const READ: Syndrome = {};
const WRITE: Syndrome = { write: true };
const EXEC: Syndrome = { ec: INSTRUCTION_ABORT };
const PERMISSION_L3 = 0x0f;
const PERMISSION_L2 = 0x0e;
const PERMISSION_L1 = 0x0d;

const counterOf = (bench: AbortBench, offset: number): number =>
  // The test itself is the main agent.
  bench.lab.counter(bench.lab.world.layout.vcpus + 1, offset);
const retries = (bench: AbortBench): number => counterOf(bench, STATISTICS.retried);

describe('a fault ends', () => {
  test.each([
    ['of level 3', PERMISSION_L3],
    ['of level 2', PERMISSION_L2],
    ['of level 1', PERMISSION_L1],
  ])('1: at once when a read lacked a permission, %s', (_, fsc) => {
    const bench = new AbortBench({ slot: SLOT });
    expect([bench.handle(AT, { fsc }), bench.taken()]).toEqual(['fault', []]);
  });

  test('2: without an area', () => {
    const bench = new AbortBench({ slot: SLOT });
    bench.host.vma = null;
    expect([bench.handle(AT, WRITE), bench.taken()]).toEqual(['fault', []]);
    expect(bench.vcpu.memcache.pages).toBe(0);
  });

  test('6: without table pages, and nothing is pinned', () => {
    const bench = new AbortBench({ slot: SLOT });
    bench.lab.drain('tables', 1);
    expect([bench.handle(AT, WRITE), bench.taken()]).toEqual(['noMemory', []]);
  });

  test.each(['noMemory', 'fault'] as const)(
    '8: with a host that has no page (%s): -EFAULT',
    (status) => {
      const bench = new AbortBench({ slot: SLOT, found: { status } });
      expect(bench.handle(AT, WRITE)).toBe('fault');
      expect([bench.taken(), bench.leaf(AT)]).toEqual([['pin +2000 for writing'], 'none']);
      expect(bench.vcpu.signal).toBeNull();
    },
  );

  test.each([
    ['a page', {}, 12, HVA + 2 * PAGE, 'pin +2000 for writing'],
    ['of 2M', HUGE_2M, 21, HVA + 2 * PAGE, 'pin +0 for writing'],
    ['of 1G', HUGE_1G, 30, HVA + 2 * PAGE, 'pin +0 for writing'],
  ])('8: with poisoned memory, %s: a signal', (_, vma, shift, hva, pin) => {
    const bench = new AbortBench({ slot: SLOT, vma, found: { status: 'poisoned' } });
    expect(bench.handle(AT, WRITE)).toBe('resume');
    expect(bench.vcpu.signal).toEqual({ hva, shift });
    expect([bench.taken(), bench.leaf(AT), retries(bench)]).toEqual([[pin], 'none', 0]);
  });

  test('10: when a device is executed, by an abort for the guest, before the lock', () => {
    const bench = new AbortBench({ slot: SLOT, found: DEVICE });
    expect(bench.handle(AT, EXEC)).toBe('resume');
    expect(bench.vcpu.injected?.exception).toBe('prefetchAbort');
    expect([bench.taken(), bench.leaf(AT)]).toEqual([['pin +2000 for reading'], 'none']);
  });

  test('11: without a table any more, the reference dropped', () => {
    const bench = new AbortBench({ slot: SLOT });
    const { vm } = bench.lab.world;
    bench.host.interruption = { at: 'pinned', action: () => vm.freeStage2() };
    expect(bench.handle(AT, WRITE)).toBe('fault');
    const frame = hex(PHYS + 2 * PAGE);
    expect(bench.taken()).toEqual(['pin +2000 for writing', `accessed ${frame}`, `unpin ${frame}`]);
  });

  test('15: as the table code does, the reference dropped', () => {
    const bench = new AbortBench({ slot: SLOT });
    bench.handle(IPA, WRITE);
    bench.taken();
    // Fits the table, and the table has no page for it.
    while (bench.vcpu.memcache.pages > 2) drive(bench.vcpu.memcache.alloc());
    bench.vm.parts.stage2.needsTopUp = () => false;
    while (bench.vcpu.memcache.pages > 0) drive(bench.vcpu.memcache.alloc());
    expect(bench.handle(IPA + G1, WRITE)).toBe('noMemory');
    expect(bench.taken().at(-1)).toBe(`unpin ${hex(PHYS + G1)}`);
  });
});

describe('a fault is tried again', () => {
  const MOMENTS: readonly Moment[] = ['mmap unlock', 'pin', 'pinned'];
  const ENDS = ['ends', 'stays open'] as const;

  test.each(MOMENTS.flatMap((moment) => ENDS.map((end) => [moment, end] as const)))(
    'when a notifier starts at "%s" and %s',
    (moment, end) => {
      const bench = new AbortBench({ slot: LOGGING });
      bench.host.interruption = { at: moment, action: () => bench.invalidate(end) };
      expect(bench.handle(AT, WRITE)).toBe('resume');
      const frame = hex(PHYS + 2 * PAGE);
      // No table, nothing marked as written; accessed it was, and the reference is dropped.
      expect(bench.taken()).toEqual([
        'pin +2000 for writing',
        `accessed ${frame}`,
        `unpin ${frame}`,
      ]);
      expect(counterOf(bench, STATISTICS.walks)).toBe(0);
      expect([bench.leaf(AT), retries(bench)]).toEqual(['none', 1]);
    },
  );

  test('when one was open all the time', () => {
    const bench = new AbortBench({ slot: SLOT });
    drive(bench.invalidate('stays open'));
    expect([bench.handle(AT, WRITE), bench.leaf(AT), retries(bench)]).toEqual([
      'resume',
      'none',
      1,
    ]);
  });

  test('not when it ended before the area was looked up', () => {
    const bench = new AbortBench({ slot: SLOT });
    bench.host.interruption = { at: 'lookup', action: () => bench.invalidate() };
    expect(bench.handle(AT, WRITE)).toBe('resume');
    expect([bench.leaf(AT), retries(bench)]).toEqual([`3 ${hex(PHYS + 2 * PAGE)} rw-`, 0]);
  });

  test('when an area of huge pages becomes one of small pages after its lock: no block is built', () => {
    const bench = new AbortBench({ slot: SLOT, vma: HUGE_2M, found: HOST_BLOCK });
    bench.host.interruption = {
      at: 'mmap unlock',
      *action() {
        yield* bench.invalidate();
        bench.setArea({});
        bench.host.found = { status: 'page', isWritable: true, level: 3 };
      },
    };
    expect(bench.handle(AT, WRITE)).toBe('resume');
    expect([bench.leaf(AT), retries(bench)]).toEqual(['none', 1]);
    expect(bench.handle(AT, WRITE)).toBe('resume');
    expect(bench.leaf(AT)).toBe(`3 ${hex(PHYS + 2 * PAGE)} rw-`);
  });
});

describe('what is asked, in which order', () => {
  const frame = hex(PHYS + 2 * PAGE);

  test.each<[string, AbortBenchOptions, Syndrome, readonly string[]]>([
    ['a write', { slot: SLOT }, WRITE, [`dirty ${frame}`, 'table']],
    ['a read of what is writable', { slot: SLOT }, READ, [`dirty ${frame}`, 'table']],
    ['a read of what is not', { slot: SLOT, found: READ_ONLY_HOST }, READ, ['table']],
    ['a write, logged', { slot: LOGGING }, WRITE, [`dirty ${frame}`, 'log page 2', 'table']],
    ['a read, logged', { slot: LOGGING }, READ, ['table']],
    ['an execution, logged', { slot: LOGGING }, EXEC, ['table']],
  ])('%s: marks before the table, the reference last', (_, options, syndrome, marks) => {
    const bench = new AbortBench(options);
    expect(bench.handle(AT, syndrome)).toBe('resume');
    const verb = syndrome === WRITE ? 'writing' : 'reading';
    expect(bench.taken()).toEqual([
      `pin +2000 for ${verb}`,
      ...marks,
      `accessed ${frame}`,
      `unpin ${frame}`,
    ]);
  });

  test('a device has no page to mark or to drop; while the slot logs, its frame is', () => {
    const bench = new AbortBench({ slot: LOGGING, found: DEVICE });
    bench.handle(AT, READ);
    expect(bench.taken()).toEqual(['pin +2000 for reading', 'log page 2', 'table']);
  });
});

describe('a page gets', () => {
  const page = hex(PHYS + 2 * PAGE);

  test.each<[string, AbortBenchOptions, Syndrome, string]>([
    ['R and W for a read', { slot: SLOT }, READ, 'rw-'],
    ['R and W for a write', { slot: SLOT }, WRITE, 'rw-'],
    ['all for an execution', { slot: SLOT }, EXEC, 'rwx'],
    ['R for a read while the slot logs', { slot: LOGGING }, READ, 'r--'],
    ['W for a write while the slot logs', { slot: LOGGING }, WRITE, 'rw-'],
    ['no W for an execution while the slot logs', { slot: LOGGING }, EXEC, 'r-x'],
    ['no W from a host page without', { slot: SLOT, found: READ_ONLY_HOST }, READ, 'r--'],
    ['no W in a read-only slot', { slot: { ...SLOT, isReadonly: true } }, READ, 'r--'],
    ['X in a read-only slot', { slot: { ...SLOT, isReadonly: true } }, EXEC, 'r-x'],
    ['R for a stage-1 walk', { slot: LOGGING }, { ...EXEC, s1ptw: true }, 'r--'],
    ['the device type for a read', { slot: SLOT, found: DEVICE }, READ, 'rw- device'],
    ['it while the slot logs too', { slot: LOGGING, found: DEVICE }, READ, 'rw- device'],
    [
      'no W from a device without',
      { slot: SLOT, found: { ...DEVICE, ...READ_ONLY_HOST } },
      READ,
      'r-- device',
    ],
  ])('%s', (_, options, syndrome, prot) => {
    const bench = new AbortBench(options);
    expect(bench.handle(AT, syndrome)).toBe('resume');
    expect(bench.leaf(AT)).toBe(`3 ${page} ${prot}`);
  });
});

const BOTH: readonly ProfileName[] = ['legacy', '5.10'];

describe.each(BOTH)('on a machine with DIC, %s', (kvm) => {
  const machine = { ...PLAIN_4K, features: { ...PLAIN_4K.features, dic: true } };
  const scenario = { kvm, machine };

  test('memory is executable unasked, and no instruction invalidated for it', () => {
    const bench = new AbortBench({ slot: SLOT, scenario });
    const events = bench.eventsOf(AT, WRITE);
    expect(only(events, EventKind.icacheInvalidate)).toEqual([]);
    expect(bench.leaf(AT)).toBe(`3 ${hex(PHYS + 2 * PAGE)} rwx`);
  });

  test('a device is not', () => {
    const bench = new AbortBench({ slot: SLOT, found: DEVICE, scenario });
    bench.handle(AT, WRITE);
    expect(bench.leaf(AT)).toBe(`3 ${hex(PHYS + 2 * PAGE)} rw- device`);
  });
});

describe.each(BOTH)('the size of a mapping, %s', (kvm) => {
  const scenario = { kvm };
  const inside = IPA + G1 + M2 + 2 * PAGE;
  const offset = G1 + M2 + 2 * PAGE;
  const pageAt = hex(PHYS + offset);
  const block2 = hex(PHYS + G1 + M2);
  const block1 = hex(PHYS + G1);

  test.each<[string, AbortBenchOptions, string, number]>([
    ['a page of an anonymous area', {}, `3 ${pageAt}`, offset],
    ['hugetlb of 2M', { vma: HUGE_2M, found: HOST_BLOCK }, `2 ${block2}`, G1 + M2],
    ['hugetlb of 1G', { vma: HUGE_1G, found: { level: 1 } }, `1 ${block1}`, G1],
    ['a transparent huge page', { vma: THP, found: HOST_BLOCK }, `2 ${block2}`, offset],
    ['a small page where huge ones could be', { vma: THP }, `3 ${pageAt}`, offset],
    [
      'contiguous pages: pages',
      { vma: { kind: 'hugetlb', hugeBytes: 16 * PAGE } },
      `3 ${pageAt}`,
      offset,
    ],
    [
      'a PFN mapping, whatever is behind it',
      { vma: { kind: 'pfnmap' }, found: HOST_BLOCK },
      `3 ${pageAt}`,
      offset,
    ],
    ['a device', { found: { ...DEVICE, level: 2 } }, `3 ${pageAt}`, offset],
    [
      'hugetlb while the slot logs',
      { slot: LOGGING, vma: HUGE_2M, found: HOST_BLOCK },
      `3 ${pageAt}`,
      offset,
    ],
    [
      '1G while the slot logs',
      { slot: LOGGING, vma: HUGE_1G, found: { level: 1 } },
      `3 ${pageAt}`,
      offset,
    ],
    [
      'a transparent huge page while the slot logs',
      { slot: LOGGING, vma: THP, found: HOST_BLOCK },
      `3 ${pageAt}`,
      offset,
    ],
    [
      '2M shifted by a page: a page',
      { slot: { ...SLOT, ipa: IPA - PAGE }, vma: HUGE_2M, found: HOST_BLOCK },
      `3 ${hex(PHYS + offset + PAGE)}`,
      offset + PAGE,
    ],
    [
      'a transparent huge page, shifted',
      { slot: { ...SLOT, ipa: IPA - PAGE }, vma: THP, found: HOST_BLOCK },
      `3 ${hex(PHYS + offset + PAGE)}`,
      offset + PAGE,
    ],
  ])('%s', (_, options, leaf, pinned) => {
    const bench = new AbortBench({ slot: SLOT, scenario, ...options });
    expect(bench.handle(inside, WRITE)).toBe('resume');
    expect(bench.leaf(inside).split(' ').slice(0, 2).join(' ')).toBe(leaf);
    const log = bench.taken();
    expect(log[0]).toBe(`pin +${hex(pinned)} for writing`);
    // The reference is that of the page that was pinned, not of the block's first.
    expect(log.at(-1)).toBe(
      options.found?.status === 'device' ? 'table' : `unpin ${hex(PHYS + pinned)}`,
    );
  });

  test.each<[string, Partial<AbortBenchOptions>, string]>([
    [
      '1G, the slot shifted by 2M',
      { slot: { ...SLOT, ipa: IPA - M2 } },
      `2 ${hex(PHYS + offset + M2 - 2 * PAGE)}`,
    ],
    ['1G, the block cut off', { slot: { bytes: G1 + 2 * M2 } }, `2 ${block2}`],
    ['contiguous blocks of 32M', { vma: { kind: 'hugetlb', hugeBytes: 16 * M2 } }, `2 ${block2}`],
  ])('%s: 2M, and pages by legacy', (_, options, leaf) => {
    const vma = HUGE_1G;
    const bench = new AbortBench({ slot: SLOT, vma, found: { level: 1 }, scenario, ...options });
    expect(bench.handle(inside, WRITE)).toBe('resume');
    const found = bench.leaf(inside).split(' ').slice(0, 2).join(' ');
    const page = `3 ${hex(PHYS + (bench.host.areaAsked as number) - HVA)}`;
    // A page that was forced is not made a block by what the host has.
    expect(found).toBe(kvm === 'legacy' ? page : leaf);
  });

  test('the whole block is marked, cleaned and executable at once', () => {
    const bench = new AbortBench({ slot: SLOT, vma: HUGE_2M, found: HOST_BLOCK, scenario });
    expect(bench.handle(inside, EXEC)).toBe('resume');
    expect(bench.leaf(inside)).toBe(`2 ${block2} rwx`);
    expect(bench.mapping).toMatchObject({ size: M2, frame: PHYS + G1 + M2, ipa: inside });
  });
});

describe('a permission fault', () => {
  /** A slot whose 2M block is mapped without W, and then logs. */
  function loggedBlock(kvm: ProfileName): AbortBench {
    const bench = new AbortBench({
      slot: SLOT,
      vma: HUGE_2M,
      found: { ...HOST_BLOCK, ...READ_ONLY_HOST },
      scenario: { kvm },
    });
    bench.handle(AT, READ);
    bench.setSlot(LOGGING);
    bench.host.found = { status: 'page', isWritable: true, level: 2 };
    expect(bench.leaf(AT)).toBe(`2 ${hex(PHYS)} r--`);
    return bench;
  }

  test.each(BOTH)('%s: of a write on a block while the slot logs widens one page', (kvm) => {
    const bench = loggedBlock(kvm);
    bench.taken();
    expect(bench.handle(AT, { write: true, fsc: PERMISSION_L2 })).toBe('resume');
    const page = hex(PHYS + 2 * PAGE);
    expect(bench.taken()).toEqual([
      'pin +2000 for writing',
      `dirty ${page}`,
      'log page 2',
      'table',
      `accessed ${page}`,
      `unpin ${page}`,
    ]);
    expect(bench.leaf(AT)).toBe(`3 ${page} rw-`);
    // The other 511 come back one by one, and are then seen (invariant 57).
    for (const other of [0, 1, 3, 511]) expect(bench.leaf(IPA + other * PAGE)).toBe('none');
  });

  test.each(BOTH)('%s: of an execution on a block while the slot logs fills the cache', (kvm) => {
    const bench = loggedBlock(kvm);
    while (bench.vcpu.memcache.pages > 0) drive(bench.vcpu.memcache.alloc());
    expect(bench.handle(AT, { ...EXEC, fsc: PERMISSION_L2 })).toBe('resume');
    expect(bench.leaf(AT)).toBe(`3 ${hex(PHYS + 2 * PAGE)} r-x`);
  });

  test.each(BOTH)('%s: with logging off again, a page becomes its block', (kvm) => {
    const bench = loggedBlock(kvm);
    bench.handle(AT, { write: true, fsc: PERMISSION_L2 });
    bench.handle(AT + PAGE, READ);
    bench.setSlot(SLOT);
    expect(bench.handle(AT + PAGE, { write: true, fsc: PERMISSION_L3 })).toBe('resume');
    for (const page of [0, 2, 3, 511]) {
      expect(bench.leaf(IPA + page * PAGE)).toBe(`2 ${hex(PHYS)} rw-`);
    }
  });

  test.each([
    ['a page', {}, PERMISSION_L3, 3],
    ['2M', HUGE_2M, PERMISSION_L2, 2],
    ['1G', HUGE_1G, PERMISSION_L1, 1],
  ] as const)(
    'on %s of the mapping size is relaxed in place: no page, no clean',
    (_, vma, fsc, level) => {
      const options = { slot: SLOT, vma, found: { ...READ_ONLY_HOST, level } };
      const bench = new AbortBench(options);
      bench.handle(AT, READ);
      bench.host.found = { status: 'page', isWritable: true, level };
      while (bench.vcpu.memcache.pages > 0) drive(bench.vcpu.memcache.alloc());
      bench.lab.drain('tables', 0);
      expect(bench.handle(AT, { write: true, fsc })).toBe('resume');
      expect(bench.handle(AT, { ...EXEC, fsc })).toBe('resume');
      expect(bench.leaf(AT)).toBe(`${level} ${hex(level === 3 ? PHYS + 2 * PAGE : PHYS)} rwx`);
      expect(bench.mapping?.leafSize).toBe(bench.mapping?.size);
    },
  );

  test('whose block is gone from the host maps the page', () => {
    const bench = new AbortBench({
      slot: SLOT,
      vma: THP,
      found: { ...HOST_BLOCK, ...READ_ONLY_HOST },
    });
    bench.handle(AT, READ);
    bench.host.found = { status: 'page', isWritable: true, level: 3 };
    while (bench.vcpu.memcache.pages > 0) drive(bench.vcpu.memcache.alloc());
    expect(bench.handle(AT, { write: true, fsc: PERMISSION_L2 })).toBe('resume');
    expect(bench.leaf(AT)).toBe(`3 ${hex(PHYS + 2 * PAGE)} rw-`);
  });
});

/** `clean 40000000 +200000` for maintenance of caches, `tlbi 8000200` for invalidations by address. */
function maintenance(events: readonly Seen[]): string[] {
  return events.flatMap(({ kind, at, newLo, newHi }) => {
    // Addresses are in units of the smallest frame.
    if (kind === EventKind.dcacheClean) return [`clean ${hex(at)} +${hex(newLo)}`];
    if (kind === EventKind.icacheInvalidate) return [`icache ${hex(at)} +${hex(newLo)}`];
    return kind === EventKind.tlbi ? [`tlbi ${hex(newHi)}`] : [];
  });
}

describe('caches', () => {
  const frame = hex((PHYS + 2 * PAGE) / PAGE);
  const block = hex(PHYS / PAGE);
  const BLOCK: AbortBenchOptions = { slot: SLOT, vma: HUGE_2M, found: HOST_BLOCK };
  const fwb = { machine: { ...PLAIN_4K, features: { ...PLAIN_4K.features, fwb: true } } };

  test.each<[string, AbortBenchOptions, Syndrome, readonly string[]]>([
    ['a page is cleaned', { slot: SLOT }, WRITE, [`clean ${frame} +1000`]],
    [
      'an executed one invalidated too',
      { slot: SLOT },
      EXEC,
      [`clean ${frame} +1000`, `icache ${frame} +1000`],
    ],
    ['a block as a whole', BLOCK, EXEC, [`clean ${block} +200000`, `icache ${block} +200000`]],
    ['a device is not', { slot: SLOT, found: DEVICE }, WRITE, []],
    ['nothing with FWB', { slot: SLOT, scenario: fwb }, WRITE, []],
    ['but for instructions', { slot: SLOT, scenario: fwb }, EXEC, [`icache ${frame} +1000`]],
  ])('%s', (_, options, syndrome, expected) => {
    expect(maintenance(new AbortBench(options).eventsOf(AT, syndrome))).toEqual(expected);
  });

  test('a permission fault cleans nothing; the TLBI is for the mapping, by legacy for the page', () => {
    for (const [kvm, page] of [
      ['5.10', IPA / PAGE],
      ['legacy', AT / PAGE],
    ] as const) {
      const bench = new AbortBench({ ...BLOCK, scenario: { kvm } });
      bench.handle(AT, WRITE);
      const events = bench.eventsOf(AT, { ...EXEC, fsc: PERMISSION_L2 });
      expect([kvm, maintenance(events)]).toEqual([
        kvm,
        [`icache ${block} +200000`, `tlbi ${hex(page)}`],
      ]);
      expect(bench.leaf(AT)).toBe(`2 ${hex(PHYS)} rwx`);
    }
  });
});

describe('the cache of table pages is filled', () => {
  test.each<[string, AbortBenchOptions, Syndrome, number, number]>([
    ['for a translation fault', { slot: SLOT }, WRITE, 40, 40],
    [
      'for a write while the slot logs',
      { slot: LOGGING },
      { write: true, fsc: PERMISSION_L3 },
      40,
      40,
    ],
    [
      'not for another permission fault of a page',
      { slot: LOGGING },
      { ...EXEC, fsc: PERMISSION_L3 },
      0,
      40,
    ],
    ['not for a write without logging', { slot: SLOT }, { write: true, fsc: PERMISSION_L3 }, 0, 40],
    ['for a page where a block was', { slot: SLOT }, { write: true, fsc: PERMISSION_L2 }, 40, 40],
  ])('%s', (_, options, syndrome, pages, legacyPages) => {
    for (const [kvm, expected] of [
      ['5.10', pages],
      ['legacy', legacyPages],
    ] as const) {
      const bench = new AbortBench({ ...options, scenario: { kvm } });
      let filled = -1;
      bench.host.interruption = {
        at: 'pin',
        *action() {
          filled = bench.vcpu.memcache.pages;
        },
      };
      bench.handle(AT, syndrome);
      expect([kvm, filled]).toEqual([kvm, expected]);
    }
  });
});

test('the area is that of the page that faulted, whatever is pinned', () => {
  const bench = new AbortBench({ slot: SLOT, vma: HUGE_2M });
  bench.handle(AT, WRITE);
  expect([bench.host.areaAsked, bench.taken()[0]]).toEqual([HVA + 2 * PAGE, 'pin +0 for writing']);
});
