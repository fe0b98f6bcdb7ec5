/** Changes of slots (specification 5K): every refusal, what each change does to stage 2, and races with faults. */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { setMemoryRegion, type MemoryRegion } from '../../src/kvm/memslot-update.ts';
import { SlotFlag } from '../../src/kvm/memslots.ts';
import type { UserArea, UserAreas } from '../../src/kvm/user-areas.ts';
import type { Hva, Phys } from '../../src/machine/address.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { TableScan } from '../../src/main/verify/scan.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Guest, Lab, MIB, only, PAGE, RAM, toLock } from '../support/lab.ts';
import { cleaned, mappedPages, spareRegion, vmOf } from '../support/vm-of.ts';

const FREE = 0x8000_0000;

/** The request that makes the lab's one slot as it is. */
function present(lab: Lab): MemoryRegion {
  const { id, ipa, hva, bytes } = lab.slot;
  return { id, ipa, hva, bytes, flags: 0 };
}

/** The slots, as data. */
function slotsNow(lab: Lab): unknown[] {
  return lab.world.vm.parts.memslots.slots.map(({ id, ipa, hva, bytes, flags }) => {
    return { id, ipa, hva, bytes, flags };
  });
}

/** All that a refused change must leave alone: slots, entries, table pages and guest frames in use. */
function stateOf(lab: Lab): unknown {
  const { vm } = lab.world;
  const pgt = drive(vm.pgt()) as Stage2Pgtable;
  const frames = [lab.used('tables'), lab.used('guest')];
  return { slots: slotsNow(lab), digest: drive(digestTable(pgt)).hex(), frames };
}

describe('refused, and nothing changed:', () => {
  test.each<readonly [string, Partial<MemoryRegion>, string]>([
    ['an address that is no page', { ipa: FREE + 1 }, 'invalid'],
    ['half a page', { bytes: PAGE / 2 }, 'invalid'],
    ['a user address that is no page', { hva: 0x7f00_0000_0800 }, 'invalid'],
    ['a negative address', { ipa: -PAGE }, 'invalid'],
    ['a flag of the kernel', { flags: SlotFlag.invalid }, 'invalid'],
    ['an unknown flag', { flags: 4 }, 'invalid'],
    ['an id too large', { id: 5 }, 'invalid'],
    ['an id that is none', { id: -1 }, 'invalid'],
    ['a fraction of an id', { id: 0.5 }, 'invalid'],
    ['an end that wraps', { ipa: 2 ** 53 - PAGE }, 'invalid'],
    ['2^31 pages', { bytes: 2 ** 43 }, 'invalid'],
    ['the deletion of what is not there', { bytes: 0 }, 'invalid'],
    ['the first page of another slot', { ipa: RAM + 4 * MIB - PAGE }, 'exists'],
    ['the last page of another slot', { ipa: RAM - PAGE }, 'exists'],
    ['the inside of another slot', { ipa: RAM + PAGE }, 'exists'],
    ['another slot and more', { ipa: RAM - PAGE, bytes: 8 * MIB }, 'exists'],
    ['the last page of the IPA space', { ipa: 2 ** 40 - 2 * PAGE }, 'fault'],
    ['the first page behind it', { ipa: 2 ** 40 }, 'fault'],
    ['a bitmap too large', { bytes: 8 * MIB, flags: SlotFlag.logDirty }, 'noMemory'],
  ])('%s', (_, region, outcome) => {
    const lab = new Lab();
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    const before = stateOf(lab);
    expect(drive(setMemoryRegion(lab.world.vm, spareRegion(lab, region)))).toBe(outcome);
    expect(stateOf(lab)).toEqual(before);
    // The lock is free.
    expect(drive(setMemoryRegion(lab.world.vm, spareRegion(lab, {})))).toBe('ok');
  });

  test.each<readonly [string, Partial<MemoryRegion>, string]>([
    ['another size', { bytes: 2 * MIB }, 'invalid'],
    ['another user address', { hva: 0x7f00_1000_0000 }, 'invalid'],
    ['READONLY on', { flags: SlotFlag.readonly }, 'invalid'],
    ['another place and another size', { ipa: FREE, bytes: 2 * MIB }, 'invalid'],
    ['a place that another slot has', { ipa: FREE - MIB }, 'exists'],
    ['a place at the end of the IPA space', { ipa: 2 ** 40 - 4 * MIB }, 'fault'],
  ])('a slot with %s', (_, change, outcome) => {
    const lab = new Lab();
    drive(setMemoryRegion(lab.world.vm, spareRegion(lab, {})));
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    const before = stateOf(lab);
    expect(drive(setMemoryRegion(lab.world.vm, { ...present(lab), ...change }))).toBe(outcome);
    expect([stateOf(lab), mappedPages(lab, RAM, 2)]).toEqual([before, [0]]);
  });
});

describe('accepted:', () => {
  test('the page before the last one of the IPA space, neighbours, and one user page in two slots', () => {
    const lab = new Lab();
    const { vm } = lab.world;
    const last = spareRegion(lab, { ipa: 2 ** 40 - 3 * PAGE });
    const below = spareRegion(lab, { id: 2, ipa: RAM - 2 * PAGE });
    const above = spareRegion(lab, { id: 3, ipa: RAM + 4 * MIB });
    for (const region of [last, below, above])
      expect(drive(setMemoryRegion(vm, region))).toBe('ok');
    expect(slotsNow(lab)).toEqual([below, present(lab), above, last]);
  });

  test('what is as it is: nothing is published', () => {
    const lab = new Lab();
    const { vm } = lab.view();
    const events = lab.run(new Scripted([]), [() => setMemoryRegion(vm, present(lab))]);
    const { slotsGeneration } = lab.world.layout.words;
    expect(only(events, EventKind.signal).filter(({ at }) => at === slotsGeneration)).toEqual([]);
  });

  test.each([
    [false, 1],
    [true, 0],
  ])('a new slot is cleaned by a walk of its range, with FWB (%s) not', (fwb, walks) => {
    const lab = new Lab({ machine: { ...PLAIN_4K, features: { ...PLAIN_4K.features, fwb } } });
    const { vm } = lab.view();
    const region = spareRegion(lab, {});
    const events = lab.run(new Scripted([]), [() => setMemoryRegion(vm, region)]);
    expect([only(events, EventKind.walkBegin).length, cleaned(events)]).toEqual([walks, []]);
  });

  test('a deletion unmaps all of the slot and nothing else; its id and place are free again', () => {
    const lab = new Lab();
    const { vm } = lab.world;
    const guest = new Guest(lab, 0);
    drive(setMemoryRegion(vm, spareRegion(lab, { ipa: RAM + 4 * MIB })));
    for (const ipa of [RAM, RAM + 4 * MIB - PAGE, RAM + 4 * MIB]) drive(guest.touch(ipa, 'write'));
    const again = spareRegion(lab, { id: 0, ipa: RAM });
    expect(drive(setMemoryRegion(vm, { ...present(lab), bytes: 0 }))).toBe('ok');
    expect(mappedPages(lab, RAM, 1026)).toEqual([1024]);
    expect(drive(guest.try(RAM, 'write'))).toBe(true);
    expect(guest.results.at(-1)).toBe('exit');
    expect(drive(setMemoryRegion(vm, again))).toBe('ok');
  });

  test('a move unmaps the old place; the new one faults the same pages in', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM + PAGE, 'write'));
    expect(drive(setMemoryRegion(lab.world.vm, { ...present(lab), ipa: FREE }))).toBe('ok');
    expect(mappedPages(lab, RAM, 4)).toEqual([]);
    drive(guest.touch(FREE + PAGE, 'write'));
    expect(lab.leaf(FREE + PAGE).hex).toBe('00400000800007ff');
    expect(lab.used('guest')).toBe(1);
  });

  test('a move keeps the dirty bits of a slot that logs', () => {
    const lab = new Lab({ slots: [{ base: RAM, bytes: 4 * MIB, logging: true }] });
    drive(new Guest(lab, 0).touch(RAM + PAGE, 'write'));
    const moved = { ...present(lab), ipa: FREE, flags: SlotFlag.logDirty };
    expect(drive(setMemoryRegion(lab.world.vm, moved))).toBe('ok');
    expect([lab.slot.ipa, lab.slot.isDirty(1), lab.slot.isDirty(0)]).toEqual([FREE, true, false]);
  });

  test('logging off leaves stage 2 alone; on again, the bitmap is clean', () => {
    const lab = new Lab({ slots: [{ base: RAM, bytes: 4 * MIB, logging: true }] });
    const { vm } = lab.view();
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    const events = lab.run(new Scripted([]), [() => setMemoryRegion(vm, present(lab))]);
    expect([lab.entryStores(events), only(events, EventKind.tlbi)]).toEqual([[], []]);
    expect(lab.slot.isLogging()).toBe(false);
    drive(setMemoryRegion(vm, { ...present(lab), flags: SlotFlag.logDirty }));
    expect([lab.slot.isLogging(), lab.slot.isDirty(0)]).toEqual([true, false]);
    expect(lab.leaf(RAM).hex).toBe('004000008000077f');
  });
});

/** Fake areas: the second half of what is asked for is a device; counts holders of the lock. */
class HalfDevice implements UserAreas {
  held = 0;
  readonly #from: number;

  constructor(from: number) {
    this.#from = from;
  }

  *lock(): Op<readonly UserArea[]> {
    this.held++;
    const ram = { hva: 0 as Hva, bytes: this.#from, device: null, isWritable: true };
    const device = { hva: this.#from as Hva, bytes: 2 ** 40, device: 0x800_0000 as Phys };
    return [ram, { ...device, isWritable: true }];
  }

  *unlock(): Op<void> {
    this.held--;
  }
}

/** Two pages of memory, two of a device. */
const region = (lab: Lab): MemoryRegion => spareRegion(lab, { bytes: 4 * PAGE });
const areasOf = (lab: Lab): HalfDevice => new HalfDevice(lab.slot.hva + 2 * PAGE);

describe('a slot over device memory', () => {
  test.each([
    [0, '00400000080017c7'],
    [SlotFlag.readonly, '0040000008001747'],
  ])('with flags %i has it mapped before any fault', (flags, hex) => {
    const lab = new Lab();
    const areas = areasOf(lab);
    const vm = vmOf(lab.world, { areas });
    expect(drive(setMemoryRegion(vm, { ...region(lab), flags }))).toBe('ok');
    expect([mappedPages(lab, FREE, 4), lab.leaf(FREE + 3 * PAGE).hex]).toEqual([[2, 3], hex]);
    expect([areas.held, lab.used('guest')]).toEqual([0, 0]);
  });

  test('cannot log, and leaves nothing mapped', () => {
    const lab = new Lab();
    const vm = vmOf(lab.world, { areas: areasOf(lab) });
    const logging = { ...region(lab), flags: SlotFlag.logDirty };
    expect(drive(setMemoryRegion(vm, logging))).toBe('invalid');
    expect([mappedPages(lab, FREE, 4), slotsNow(lab)]).toEqual([[], [present(lab)]]);
    drive(setMemoryRegion(vm, region(lab)));
    expect(drive(setMemoryRegion(vm, logging))).toBe('invalid');
    expect([mappedPages(lab, FREE, 4), slotsNow(lab)[1]]).toEqual([[2, 3], region(lab)]);
  });

  test.each([1, 3])(
    'with %i table pages, too few: -ENOMEM, nothing mapped, no page lost',
    (left) => {
      // Three are enough for the first of its two pages.
      const lab = new Lab();
      lab.drain('tables', left);
      const used = lab.used('tables');
      const vm = vmOf(lab.world, { areas: areasOf(lab) });
      expect(drive(setMemoryRegion(vm, region(lab)))).toBe('noMemory');
      expect([lab.used('tables'), mappedPages(lab, FREE, 4)]).toEqual([used, []]);
    },
  );

  test('that cannot move there stays where it was, and faults its pages back', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    lab.drain('tables', 1);
    const vm = vmOf(lab.world, { areas: areasOf(lab) });
    expect(drive(setMemoryRegion(vm, { ...present(lab), ipa: FREE }))).toBe('noMemory');
    expect([slotsNow(lab), mappedPages(lab, RAM, 2)]).toEqual([[present(lab)], []]);
    expect(drive(guest.touch(RAM, 'write'))).toBe(1);
  });
});

const remove = (lab: Lab) => (): Op<unknown> =>
  setMemoryRegion(lab.view().vm, { ...present(lab), bytes: 0 });

describe('a deletion against a fault', () => {
  test('waits for the fault that found the slot, and unmaps what it maps', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    const script = new Scripted([
      toLock(lab, 0),
      { agent: 1, until: ({ kind }) => kind === EventKind.wait },
      { agent: 0, toEnd: true },
    ]);
    lab.run(script, [() => guest.try(RAM, 'write'), remove(lab)]);
    expect([guest.results, mappedPages(lab, RAM, 2)]).toEqual([['resume'], []]);
  });

  test('turns faults away from the moment the slot is invalid', () => {
    const lab = new Lab();
    const guest = new Guest(lab, 0);
    const { mmu_lock } = lab.world.layout.locks;
    const script = new Scripted([
      // About to unmap: the slot is published as invalid.
      { agent: 1, until: ({ kind, at }) => kind === EventKind.add32 && at === mmu_lock },
      { agent: 0, toEnd: true },
    ]);
    lab.run(script, [() => guest.try(RAM, 'write'), remove(lab)]);
    expect([guest.results, lab.world.vm.parts.memslots.slots]).toEqual([['exit'], []]);
  });

  test('in 300 schedules leaves no leaf, whoever comes first', () => {
    const lab = new Lab();
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    lab.shared.explore.baseline();
    const ends = new Set<string>();
    for (let seed = 0; seed < 300; seed++) {
      lab.shared.explore.restore();
      const guests = [new Guest(lab, 0), new Guest(lab, 1)];
      lab.runWith(new RandomScheduler(seed), [
        ...guests.map((guest, id) => () => guest.try(RAM + (id + 1) * PAGE, 'write')),
        remove(lab),
      ]);
      const pgt = drive(lab.world.vm.pgt()) as Stage2Pgtable;
      expect([seed, new TableScan(pgt).digest.leaves]).toEqual([seed, [0, 0, 0, 0]]);
      ends.add(guests.map(({ results }) => results[0]).join());
    }
    expect([...ends].toSorted()).toEqual([
      'exit,exit',
      'exit,resume',
      'resume,exit',
      'resume,resume',
    ]);
  });
});
