/** Patch 6: device registers mapped by the library. What is there already is replaced; what is left in the cache goes back. */
import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { ioremap } from '../../src/kvm/ioremap.ts';
import { Lab, PAGE, type PathEntry } from '../support/lab.ts';
import { story } from '../support/vm-of.ts';

const DEVICE = { ipa: 0x1000_0000, phys: 0x800_0000, bytes: PAGE, isWritable: true } as const;
const OTHER = { ...DEVICE, phys: 0x900_0000 };

test('mapping twice replaces the page: break, one invalidation, make', () => {
  const lab = new Lab();
  const { vm } = lab.view();
  expect(drive(ioremap(vm, DEVICE))).toBe('ok');
  expect(lab.leaf(DEVICE.ipa)).toEqual({ level: 3, hex: '00400000080007c7' });
  const { at } = lab.path(DEVICE.ipa).at(-1) as PathEntry;
  const events = lab.run(new Scripted([]), [() => ioremap(vm, OTHER)]);
  expect(story(events, at)).toEqual(['break', 'TLBI 3 10000', 'make']);
  expect(lab.leaf(DEVICE.ipa).hex).toBe('00400000090007c7');
});

test('it was refused by the replaced code, which left the first mapping', () => {
  const lab = new Lab({ kvm: 'legacy' });
  const { vm } = lab.view();
  expect(drive(ioremap(vm, DEVICE))).toBe('ok');
  const { at } = lab.path(DEVICE.ipa).at(-1) as PathEntry;
  const used = lab.used('tables');
  const events = lab.run(new Scripted([]), [() => ioremap(vm, OTHER)]);
  expect(drive(ioremap(vm, OTHER))).toBe('fault');
  expect(story(events, at)).toEqual([]);
  expect([lab.leaf(DEVICE.ipa).hex, lab.used('tables')]).toEqual(['00400000080007c7', used]);
});

test.each(['legacy', '5.10'] as const)(
  '%s: of the forty pages of its cache the call keeps those that the table needs',
  (kvm) => {
    const lab = new Lab({ kvm });
    const used = lab.used('tables');
    expect(drive(ioremap(lab.world.vm, { ...DEVICE, bytes: 600 * PAGE }))).toBe('ok');
    // A table of level 2, and two of level 3 for 600 pages.
    expect(lab.used('tables') - used).toBe(3);
  },
);
