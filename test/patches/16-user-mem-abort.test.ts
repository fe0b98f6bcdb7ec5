/** Patch 16: the fault handler on the new library. A permission fault is one walk, in place, and nobody else notices. */
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import type { ExecutionView, Scheduler } from '../../src/engine/execution.ts';
import { drive, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { enableDirtyLog } from '../../src/workers/host-operations.ts';
import type { ProfileName } from '../../src/kvm/profile.ts';
import type { Phys } from '../../src/machine/address.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { stage2RelaxPerms, stage2Wrprotect } from '../../src/pgtable/stage2-attributes.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { RO, RW } from '../pgtable/helpers.ts';
import { LegacyTable } from '../pgtable/legacy/legacy-table.ts';
import { Guest, inFaults, Lab, MIB, only, PAGE, RAM } from '../support/lab.ts';

const PAGE_RO = '004000008000077f';
const PAGE_RW = '00400000800007ff';
const WRITE_FAULT = {
  frame: 0x8000_0000 as Phys,
  isExec: false,
  isPermission: true,
  isWritable: true,
  logging: true,
  isDevice: false,
  dic: false,
} as const;

/** A page that both vCPUs have read; the slot logs, so that it is read-only. */
function readOnlyPage(kvm: ProfileName = '5.10'): Lab {
  const lab = new Lab({ kvm, slots: [{ base: RAM, bytes: 4 * MIB, logging: true }] });
  drive(enableDirtyLog(lab.world, lab.slot));
  for (const id of [0, 1]) drive(new Guest(lab, id).touch(RAM, 'read'));
  expect(lab.leaf(RAM).hex).toBe(PAGE_RO);
  return lab;
}

test('a write permission fault takes one walk', () => {
  const lab = readOnlyPage();
  const guest = new Guest(lab, 0);
  const events = lab.run(new Scripted([]), [() => guest.touch(RAM, 'write')]);
  expect([guest.vcpu.fault.type, guest.results]).toEqual([FSC.permission, ['resume']]);
  const fault = inFaults(events, 0);
  expect(only(fault, EventKind.walkBegin)).toHaveLength(1);
  // Three levels, each entry loaded once; the leaf stored once.
  const { contents, frames, contentBytes } = lab.world.layout.tableZone;
  const end = contents + frames * contentBytes;
  const loads = only(fault, EventKind.load64).filter(({ at }) => at >= contents && at < end);
  expect([loads.length, lab.entryStores(fault).length]).toEqual([3, 1]);
  expect(lab.counter(0, STATISTICS.walks)).toBe(1);
  expect(lab.leaf(RAM).hex).toBe(PAGE_RW);
});

test('it took two by the replaced code, and a leaf broken and made', () => {
  const lab = readOnlyPage('legacy');
  const guest = new Guest(lab, 0);
  const events = lab.run(new Scripted([]), [() => guest.touch(RAM, 'write')]);
  expect([guest.vcpu.fault.type, guest.results]).toEqual([FSC.permission, ['resume']]);
  expect([lab.counter(0, STATISTICS.walks), lab.entryStores(events).length]).toEqual([2, 2]);
  expect(lab.leaf(RAM).hex).toBe(PAGE_RW);
});

/** Lets agent 0 take some steps, then agent 1 all of its own as far as it can. */
class PreemptAfter implements Scheduler {
  #steps: number;
  /** Whether agent 0 was still at work when agent 1's turn came. */
  isInside = false;

  constructor(steps: number) {
    this.#steps = steps;
  }

  next({ runnable }: ExecutionView): number {
    const isFirstAlive = runnable.includes(0);
    if (this.#steps > 0 && isFirstAlive) {
      this.#steps--;
      return 0;
    }
    if (this.#steps === 0) this.isInside = isFirstAlive;
    this.#steps = -1;
    return runnable.includes(1) ? 1 : 0;
  }

  choose(): number {
    return 0;
  }
}

interface Observed {
  readonly reads: number;
  readonly faults: number;
  /** Leaves that the changes ended with. */
  readonly leaves: readonly string[];
}

/** Preempts a change before each of its operations in turn, and has vCPU 1 read the page there, by its TLB and without. */
function readAtEveryStep(lab: Lab, change: () => Op<unknown>): Observed {
  const leaves = new Set<string>();
  lab.shared.explore.baseline();
  for (let reads = 0, faults = 0; ; reads++) {
    lab.shared.explore.restore();
    const reader = new Guest(lab, 1);
    const scheduler = new PreemptAfter(reads);
    lab.runWith(scheduler, [
      change,
      function* () {
        faults += yield* reader.touch(RAM, 'read');
        reader.cpu.tlb.invalidateAll();
        faults += yield* reader.touch(RAM, 'read');
      },
    ]);
    if (!scheduler.isInside) return { reads, faults, leaves: [...leaves] };
    leaves.add(lab.leaf(RAM).hex);
  }
}

describe('other vCPUs', () => {
  test('take no fault, whenever during the write fault they read the page', () => {
    const lab = readOnlyPage();
    const write = (): Op<number> => new Guest(lab, 0).touch(RAM, 'write');
    const { reads, faults, leaves } = readAtEveryStep(lab, write);
    expect(reads).toBeGreaterThan(30);
    expect(faults).toBe(0);
    expect(leaves).toEqual([PAGE_RW]);
  });

  test('do take faults where the replaced code breaks the leaf and makes it anew', () => {
    const lab = readOnlyPage('legacy');
    const write = (): Op<number> => new Guest(lab, 0).touch(RAM, 'write');
    const { faults } = readAtEveryStep(lab, write);
    expect(faults).toBeGreaterThan(0);
  });
});

describe('the table, on a write permission fault (trace B8)', () => {
  const IPA = 0x4020_0000;

  function readOnly(): LegacyTable {
    const table = new LegacyTable();
    table.setPte(IPA, WRITE_FAULT.frame, RO);
    table.walks();
    return table;
  }

  test('by the replaced code: two walks of three loads, the leaf gone while the TLBI runs', () => {
    const table = readOnly();
    const { loads, order } = table.eventsOf(() => table.faulting({ ...WRITE_FAULT, ipa: IPA }));
    expect(loads).toBe(3 + 3);
    expect(order).toEqual(['clear', 'publish', 'tlbi', 'set', 'publish']);
    expect(table.ops.log.filter((line) => line.startsWith('tlbi'))).toEqual([
      'tlbi 40200000 hint 3',
    ]);
    expect([table.walks(), table.cache.taken]).toEqual([2, 2]);
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
  });

  test('by the new code: one walk of three loads, one store', () => {
    const table = readOnly();
    const { loads, order } = table.eventsOf(() => stage2RelaxPerms(table.pgt, IPA, RW));
    expect(loads).toBe(3);
    expect(order).toEqual(['set', 'tlbi']);
    expect(table.ops.log).toEqual(['begin', 'end', 'tlbi 40200000 hint 3']);
    expect(table.words()).toEqual(['3 40200000 -> 80000000 rw-']);
  });

  test('an execution needs no first look: one walk for both', () => {
    const table = readOnly();
    table.fault({ ...WRITE_FAULT, ipa: IPA, isExec: true });
    expect(table.walks()).toBe(1);
  });
});

/** vCPU 0 with an empty cache, and no page left to fill it with. */
function starved(lab: Lab): Guest {
  const guest = new Guest(lab, 0);
  while (guest.vcpu.memcache.pages > 0) drive(guest.vcpu.memcache.alloc());
  lab.drain('tables', 0);
  return guest;
}

describe('the cache of table pages', () => {
  test.each(['write', 'exec'] as const)('is not used for a permission fault of a %s', (kind) => {
    const lab = new Lab();
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    const { vm } = lab.world;
    drive(stage2Wrprotect(drive(vm.pgt()) as Stage2Pgtable, RAM, PAGE));
    drive(vm.parts.mmu.tlbFlushVmid());
    const guest = starved(lab);
    const events = lab.run(new Scripted([]), [() => guest.touch(RAM, kind)]);
    expect([guest.vcpu.fault.type, guest.results]).toEqual([FSC.permission, ['resume']]);
    expect(only(events, EventKind.frameAlloc)).toEqual([]);
    expect(guest.vcpu.memcache.pages).toBe(0);
  });

  test('is filled for a write while the slot logs, which may have to dissolve a block', () => {
    const lab = readOnlyPage();
    const guest = starved(lab);
    drive(guest.try(RAM, 'write'));
    expect([guest.vcpu.fault.type, guest.results]).toEqual([FSC.permission, ['noMemory']]);
    expect(lab.leaf(RAM).hex).toBe(PAGE_RO);
  });

  test('is filled for a translation fault, outside the lock', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    const { mmu_lock } = lab.world.layout.locks;
    const { contents, frames, contentBytes } = lab.world.layout.tableZone;
    const end = contents + frames * contentBytes;
    const events = lab.run(new Scripted([]), [() => guest.touch(RAM, 'write')]);
    const allocations = events.flatMap(({ kind, at }, i) =>
      kind === EventKind.frameAlloc && at >= contents && at < end ? [i] : [],
    );
    const locked = events.findIndex(
      ({ kind, at }) => kind === EventKind.lockAcquired && at === mmu_lock,
    );
    expect(allocations).toHaveLength(40);
    expect(allocations.filter((i) => i > locked)).toEqual([]);
  });
});
