/** Patch 7: the host replaces one page by another (copy on write): the leaf changes by break and make, and nothing is allocated. */
import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import type { Phys } from '../../src/machine/address.ts';
import { Guest, Lab, PAGE, RAM, type PathEntry } from '../support/lab.ts';
import { cleaned, notifierWords, pagesOf, story } from '../support/vm-of.ts';

const COPY = 0x8000_5000 as Phys;
const profiles = ['legacy', '5.10'] as const;

test.each(profiles)('%s: a mapped page becomes the copy, read-only: break, TLBI, make', (kvm) => {
  const lab = new Lab({ kvm });
  const guest = new Guest(lab, 0);
  drive(guest.touch(RAM + PAGE, 'write'));
  const { at } = lab.path(RAM + PAGE).at(-1) as PathEntry;
  const host = new KvmNotifier(lab.view().vm);
  const used = lab.used('tables');
  const events = lab.run(new Scripted([]), [() => host.changePte(pagesOf(lab.slot, 1).hva, COPY)]);
  expect(story(events, at)).toEqual(['break', 'TLBI 3 40001', 'make']);
  expect(lab.leaf(RAM + PAGE)).toEqual({ level: 3, hex: '004000008000577f' });
  // The copy was written by the host, whose caches the guest may go around.
  expect(cleaned(events)).toEqual(['80005 1000']);
  expect([notifierWords(lab), lab.used('tables')]).toEqual([[1, 0], used]);
  expect(drive(guest.cpu.enterGuest())).toBe(undefined);
});

test.each(profiles)('%s: where no table exists none is made', (kvm) => {
  const lab = new Lab({ kvm });
  const host = new KvmNotifier(lab.view().vm);
  const used = lab.used('tables');
  const events = lab.run(new Scripted([]), [() => host.changePte(pagesOf(lab.slot, 0).hva, COPY)]);
  expect([lab.entryStores(events), lab.used('tables'), lab.path(RAM)]).toMatchObject([
    [],
    used,
    [{}],
  ]);
  // A fault that pinned the old page has to look again all the same.
  expect(notifierWords(lab)).toEqual([1, 0]);
});

test.each(profiles)('%s: where the tables exist and no page, the copy is mapped', (kvm) => {
  const lab = new Lab({ kvm });
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  drive(new KvmNotifier(lab.view().vm).changePte(pagesOf(lab.slot, 1).hva, COPY));
  expect(lab.leaf(RAM + PAGE).hex).toBe('004000008000577f');
  expect(lab.references(RAM)).toEqual([2, 2, 3]);
});
