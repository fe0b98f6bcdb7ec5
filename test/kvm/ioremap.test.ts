/** Device registers mapped by the host (specification 5G): ranges, permissions, every way to fail, and what becomes of the cache. */
import { drive } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import { ioremap } from '../../src/kvm/ioremap.ts';
import type { Twin } from '../../src/kvm/twin.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';
import { mappedPages } from '../support/vm-of.ts';

const IPA = 0x1000_0000;
const DEVICE = { ipa: IPA, phys: 0x800_0000, bytes: 3 * PAGE, isWritable: true } as const;
const profiles = ['legacy', '5.10'] as const;

test.each(profiles)(
  '%s: three pages, each under the lock by itself, then the cache is empty',
  (kvm) => {
    const lab = new Lab({ kvm });
    const { vm } = lab.view();
    const used = lab.used('tables');
    const events = lab.run(new Scripted([]), [() => ioremap(vm, DEVICE)]);
    const leaves = [0, 1, 2].map((page) => lab.leaf(IPA + page * PAGE).hex);
    expect(leaves).toEqual(['00400000080007c7', '00400000080017c7', '00400000080027c7']);
    const { mmu_lock } = lab.world.layout.locks;
    const locked = only(events, EventKind.lockAcquired).filter(({ at }) => at === mmu_lock);
    expect([locked.length, lab.used('tables') - used]).toEqual([3, 2]);
  },
);

test.each([
  [0x100, PAGE, [0, 1]],
  [0x100, PAGE - 0x100, [0]],
  [0xfff, 1, [0]],
  [0xfff, 2, [0, 1]],
  [0, 0, []],
])('from byte %i of a page, %i bytes: pages %o', (offset, bytes, pages) => {
  const lab = new Lab();
  const range = { ...DEVICE, ipa: IPA + offset, phys: DEVICE.phys + offset, bytes };
  expect(drive(ioremap(lab.world.vm, range))).toBe('ok');
  expect(mappedPages(lab, IPA, 4)).toEqual(pages);
  for (const page of pages)
    expect(lab.leaf(IPA + page * PAGE).hex).toBe(
      `0040000008${`00${page}`.slice(-3)}7c7`.slice(-16),
    );
});

test('read-only registers have no W', () => {
  const lab = new Lab();
  drive(ioremap(lab.world.vm, { ...DEVICE, isWritable: false }));
  expect(lab.leaf(IPA).hex).toBe('0040000008000747');
});

test.each(profiles)('%s: stops where there is no table page, and gives the others back', (kvm) => {
  const lab = new Lab({ kvm });
  // Two for the first page; not enough to begin the second.
  lab.drain('tables', 3);
  const used = lab.used('tables');
  expect(drive(ioremap(lab.world.vm, DEVICE))).toBe('noMemory');
  expect([mappedPages(lab, IPA, 3), lab.used('tables') - used]).toEqual([[0], 2]);
});

test('beyond the IPA space: -ERANGE, and the pages before stay', () => {
  const lab = new Lab();
  const ipa = 2 ** 40 - PAGE;
  const used = lab.used('tables');
  expect(drive(ioremap(lab.world.vm, { ...DEVICE, ipa }))).toBe('outOfRange');
  expect([mappedPages(lab, ipa, 1), lab.used('tables') - used]).toEqual([[0], 2]);
});

test('legacy: a page in the way ends it there', () => {
  const lab = new Lab({ kvm: 'legacy' });
  drive(ioremap(lab.world.vm, { ...DEVICE, ipa: IPA + PAGE, bytes: PAGE }));
  expect(drive(ioremap(lab.world.vm, DEVICE))).toBe('fault');
  expect(mappedPages(lab, IPA, 3)).toEqual([0, 1]);
});

test.each(profiles)('%s: a twin follows mappings twice made, replaced pages and ageing', (kvm) => {
  const lab = new Lab({ kvm, twin: true });
  const { vm } = lab.world;
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  drive(ioremap(vm, DEVICE));
  const twice = drive(ioremap(vm, { ...DEVICE, phys: 0x900_0000 }));
  expect(twice).toBe(kvm === 'legacy' ? 'fault' : 'ok');
  const notifier = new KvmNotifier(vm);
  drive(notifier.clearYoung({ hva: lab.slot.hva, bytes: PAGE }));
  drive(notifier.changePte(lab.slot.hva, 0x8000_5000 as Phys));
  const [live, twin] = drive((vm.parts.twin as Twin).compare(drive(vm.pgt()) as Stage2Pgtable));
  expect(live).toBe(twin);
});
