/** Eager splitting of profile `6.12`: when logging begins and when bits are cleared; what is left alone, and what it gives back. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { NO_SPLIT } from '../../src/kvm/generations/eager-split.ts';
import { clearDirtyLog, type DirtyLogMode } from '../../src/kvm/dirty-log.ts';
import { regionOf, setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { SlotFlag } from '../../src/kvm/memslots.ts';
import { Memcache } from '../../src/kvm/memcache.ts';
import type { Vm } from '../../src/kvm/vm.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { Guest, Lab, MIB, only, PAGE, RAM } from '../support/lab.ts';
import { vmOf } from '../support/vm-of.ts';

const backing = { kind: 'transparentHuge', pageBytes: PAGE, offset: 0 } as const;
const SLOTS = [{ base: RAM, bytes: 4 * MIB, logging: false, backing }];

/** Both blocks of the slot are mapped, one of them executable. */
function blocks(overrides: Partial<Scenario> = {}): Lab {
  const lab = new Lab({ kvm: '6.12', slots: SLOTS, frames: 2048, ...overrides });
  const guest = new Guest(lab, 0);
  drive(guest.touch(RAM, 'write'));
  drive(guest.touch(RAM + 2 * MIB, 'exec'));
  expect([lab.leaf(RAM).level, lab.leaf(RAM + 2 * MIB).level]).toEqual([2, 2]);
  return lab;
}

function* setLogging(lab: Lab, vm: Vm, isOn: boolean): Op<void> {
  const flags = isOn ? SlotFlag.logDirty : 0;
  yield* setMemoryRegion(vm, { ...regionOf(lab.slot), flags });
}

const cachePages = (lab: Lab): number =>
  new Memcache(lab.world.layout.splitCache, lab.world.memory.tables).pages;

describe('when a slot begins to log', () => {
  test('its blocks become read-only pages, in one break each, and no translation is lost', () => {
    const lab = blocks();
    const before = lab.used('tables');
    const events = lab.run(new Scripted([]), [() => setLogging(lab, lab.view().vm, true)]);
    for (const page of [0, 1, 511, 512, 1023]) expect(lab.leaf(RAM + page * PAGE).level).toBe(3);
    expect(lab.leaf(RAM + PAGE).hex).toMatch(/^0040.*77f$/u);
    expect(lab.leaf(RAM + 2 * MIB + PAGE).hex).toMatch(/^0000.*77f$/u);
    const tlbis = only(events, EventKind.tlbi).map(({ at, newLo }) => [at, newLo]);
    expect(tlbis).toEqual([
      [TlbiKind.vmid, 0],
      [TlbiKind.ipa, 2],
      [TlbiKind.ipa, 2],
    ]);
    expect(lab.used('tables')).toBe(before + 2 + cachePages(lab));
    expect(drive(new Guest(lab, 1).touch(RAM + 9 * PAGE, 'read'))).toBe(0);
    expect(drive(new Guest(lab, 1).touch(RAM + 9 * PAGE, 'write'))).toBe(1);
  });

  test('not in profile 5.18, where the first write dissolves its block', () => {
    const lab = blocks({ kvm: '5.18' });
    drive(setLogging(lab, lab.view().vm, true));
    expect(lab.leaf(RAM).level).toBe(2);
    expect(cachePages(lab)).toBe(0);
  });

  test('as far as there are table pages: the rest stays', () => {
    const lab = blocks();
    lab.drain('tables', 2);
    drive(setLogging(lab, lab.view().vm, true));
    expect([lab.leaf(RAM).level, lab.leaf(RAM + 2 * MIB).level]).toEqual([3, 2]);
    expect(lab.leaf(RAM + 2 * MIB).hex).toMatch(/77d$/u);
  });

  test('the lock is given up for every top-up, and the table looked at again', () => {
    const lab = blocks();
    const [own, other] = [lab.view(0).vm, lab.view(1).vm];
    const lock = lab.world.layout.tableZone.state;
    const script = new Scripted([
      // The first frame that the cache takes: the writer has given the lock up.
      { agent: 0, until: ({ at, kind }) => kind === EventKind.fill && at > lock },
      { agent: 1, toEnd: true },
    ]);
    lab.run(script, [() => setLogging(lab, own, true), () => other.freeStage2()]);
    expect(script.linesDone).toBeGreaterThan(0);
    expect(drive(lab.view().vm.pgt())).toBeNull();
  });
});

describe('when bits are cleared', () => {
  const clear = { id: 0, firstPage: 0, pages: 64, mask: [{ lo: 2, hi: 0 }] };

  test.each<[DirtyLogMode, number]>([
    ['clearAllSet', 3],
    ['clear', 2],
  ])('in mode %s the block ends as leaves of level %d', (dirtyLogMode, level) => {
    const lab = blocks();
    const vm = vmOf(lab.view(), { dirtyLogMode });
    // In mode `clear` the block is split when logging begins; a second one is mapped afterwards as if it had not been.
    const splitter = vmOf(lab.view(), { dirtyLogMode, splitter: NO_SPLIT });
    drive(setLogging(lab, dirtyLogMode === 'clear' ? splitter : vm, true));
    expect(lab.leaf(RAM).level).toBe(2);
    drive(lab.slot.markDirty((RAM / PAGE + 1) as never));
    expect(drive(clearDirtyLog(vm, clear))).toBe('ok');
    expect(lab.leaf(RAM).level).toBe(level);
    expect(lab.leaf(RAM + 2 * MIB).level).toBe(2);
  });
});

test('the cache is given back when no slot logs any more', () => {
  const lab = blocks();
  const { vm } = lab.view();
  const before = lab.used('tables');
  drive(setLogging(lab, vm, true));
  expect(cachePages(lab)).toBeGreaterThan(0);
  drive(setLogging(lab, vm, false));
  expect(cachePages(lab)).toBe(0);
  expect(lab.used('tables')).toBe(before + 2);
});

test('a twin is split alike', () => {
  const lab = blocks({ twin: true });
  const { vm } = lab.view();
  drive(setLogging(lab, vm, true));
  const digests = drive(vm.parts.twin?.compare(drive(vm.pgt()) as never) as never) as string[];
  expect(digests[1]).toBe(digests[0]);
  expect(lab.leaf(RAM).level).toBe(3);
});
