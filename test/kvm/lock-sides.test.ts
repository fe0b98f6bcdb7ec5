/** The table of section 6 of the specification: which side of `mmu_lock` each operation takes, profile by profile (docs/generations.md). */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind, LockMode } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { getDirtyLog } from '../../src/kvm/dirty-log.ts';
import { CacheTraps } from '../../src/kvm/cache-toggle.ts';
import { ioremap } from '../../src/kvm/ioremap.ts';
import { regionOf, setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { SlotFlag } from '../../src/kvm/memslots.ts';
import { PROFILES, type ProfileName } from '../../src/kvm/profile.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { World } from '../../src/workers/world.ts';
import { Guest, Lab, MIB, only, PAGE, RAM } from '../support/lab.ts';
import { pagesOf } from '../support/vm-of.ts';

type Side = 'spin' | 'read' | 'write';

type Before = (lab: Lab, guest: Guest) => void;

/** What is done before, and what is looked at. `agent` 0 is a vCPU, 2 the host. */
interface Operation {
  readonly logging?: boolean;
  readonly before?: Before;
  readonly run: (lab: Lab, guest: Guest, world: World) => Op<unknown>;
}

const touched = (kind: 'read' | 'write'): Before => {
  return (_lab, guest) => {
    drive(guest.touch(RAM, kind));
  };
};

function* changePte(lab: Lab, { vm }: World): Op<void> {
  const { mm } = vm.parts.host;
  const page = pagesOf(lab.slot, 0);
  yield* mm.notifier.changePte(page.hva, 0x8000_3000 as Phys);
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  'map from fault': { run: (_, guest) => guest.touch(RAM, 'write') },
  'relax: write fault, page granule, logging': {
    logging: true,
    before: touched('read'),
    run: (_, guest) => guest.touch(RAM, 'write'),
  },
  'relax: other': {
    logging: true,
    before: touched('read'),
    run: (_, guest) => guest.touch(RAM, 'exec'),
  },
  'relax: write fault, page granule, log ended': {
    logging: true,
    before(lab, guest) {
      drive(guest.touch(RAM, 'read'));
      drive(setMemoryRegion(lab.view().vm, { ...regionOf(lab.slot), flags: 0 }));
    },
    run: (_, guest) => guest.touch(RAM, 'write'),
  },
  'access-flag fault': {
    before(lab, guest) {
      drive(guest.touch(RAM, 'read'));
      drive(lab.view().vm.parts.host.mm.notifier.clearFlushYoung(pagesOf(lab.slot, 0)));
    },
    run: (_, guest) => guest.touch(RAM, 'read'),
  },
  'write-protect': {
    before: touched('write'),
    run: (lab, _, { vm }) =>
      setMemoryRegion(vm, { ...regionOf(lab.slot), flags: SlotFlag.logDirty }),
  },
  'dirty harvest': {
    logging: true,
    before: touched('write'),
    run: (_, __, { vm }) => getDirtyLog(vm, 0),
  },
  'unmap (notifier)': {
    before: touched('write'),
    run: (lab, _, { vm }) =>
      vm.parts.host.mm.notifier.invalidateRangeStart(pagesOf(lab.slot, 0), true),
  },
  'unmap (slot delete)': {
    before: touched('write'),
    run: (lab, _, { vm }) => setMemoryRegion(vm, { ...regionOf(lab.slot), bytes: 0 }),
  },
  age: {
    before: touched('write'),
    run: (lab, _, { vm }) => vm.parts.host.mm.notifier.clearYoung(pagesOf(lab.slot, 0)),
  },
  'test age': {
    before: touched('write'),
    run: (lab, _, { vm }) => vm.parts.host.mm.notifier.testYoung(pagesOf(lab.slot, 0).hva),
  },
  change_pte: {
    before(lab, guest) {
      drive(guest.touch(RAM, 'write'));
      drive(lab.view().vm.parts.host.mm.notifier.invalidateRangeStart(pagesOf(lab.slot, 0), true));
    },
    run: (lab, _, world) => changePte(lab, world),
  },
  ioremap: {
    run: (_, __, { vm }) =>
      ioremap(vm, { ipa: 0x900_0000, phys: 0x900_0000, bytes: PAGE, isWritable: true }),
  },
  'eager split': {
    before(lab) {
      drive(lab.world.vm.parts.memslots.slotsLock.lock());
    },
    run: (lab) => lab.world.vm.parts.splitter.split(lab.world.vm, lab.slot),
  },
  'set/way flush': { run: (_, __, { vm }) => new CacheTraps(vm).toggle(true) },
  'pgt pointer clear': { run: (_, __, { vm }) => vm.freeStage2() },
};

/** The sides that an operation takes in a profile, each once. */
function sidesOf(kvm: ProfileName, { logging = false, before, run }: Operation): readonly Side[] {
  const lab = new Lab({ kvm, slots: [{ base: RAM, bytes: 4 * MIB, logging }] });
  const guest = new Guest(lab, 0);
  before?.(lab, guest);
  const world = lab.view();
  const events = lab.run(new Scripted([]), [() => run(lab, guest, world)]);
  const { locks, rwLocks } = lab.world.layout;
  const taken = only(events, EventKind.lockAcquired).flatMap(({ at, newHi }): Side[] => {
    if (at === locks.mmu_lock) return ['spin'];
    if (at !== rwLocks.mmu_lock) return [];
    return [newHi === LockMode.shared ? 'read' : 'write'];
  });
  return [...new Set(taken)];
}

/** Rows that are not `spin, spin, write, write`: in `legacy`, `5.10`, `5.18` and `6.12`. */
const ROWS: Readonly<Record<string, readonly (Side | 'nothing')[]>> = {
  'map from fault': ['spin', 'spin', 'write', 'read'],
  'relax: write fault, page granule, logging': ['spin', 'spin', 'read', 'read'],
  'relax: other': ['spin', 'spin', 'write', 'read'],
  'relax: write fault, page granule, log ended': ['spin', 'spin', 'write', 'read'],
  'access-flag fault': ['spin', 'spin', 'write', 'read'],
  'eager split': ['nothing', 'nothing', 'nothing', 'write'],
  change_pte: ['spin', 'spin', 'write', 'nothing'],
};

describe.each(Object.keys(PROFILES) as ProfileName[])('%s', (kvm) => {
  const column = Object.keys(PROFILES).indexOf(kvm);
  test.each(Object.entries(OPERATIONS))('%s', (name, operation) => {
    const row = ROWS[name] ?? ['spin', 'spin', 'write', 'write'];
    const side = row[column];
    expect(sidesOf(kvm, operation)).toEqual(side === 'nothing' ? [] : [side]);
  });
});

test('from 5.18 on an invalidation that meets no slot takes no lock, up to 5.10 it does', () => {
  const outside = { hva: 0x1000, bytes: PAGE } as never;
  const run: Operation['run'] = (_, __, { vm }) =>
    vm.parts.host.mm.notifier.invalidateRangeStart(outside, true);
  const sides = (Object.keys(PROFILES) as ProfileName[]).map((kvm) => sidesOf(kvm, { run }));
  expect(sides).toEqual([['spin'], ['spin'], [], []]);
});
