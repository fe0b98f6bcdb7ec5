/** What the fault handler and the notifier of each generation do differently (docs/generations.md). */
import { drive, type Op } from '#port';
import { describe, expect, test } from 'vitest';
import type { ProfileName } from '../../src/kvm/profile.ts';
import { PROFILES } from '../../src/kvm/profile.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Guest, Lab, PAGE, RAM, only } from '../support/lab.ts';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { mappedPages, notifierWords, pagesOf, spareRegion, vmOf } from '../support/vm-of.ts';
import { AbortBench, INSTRUCTION_ABORT, IPA, PHYS, farOf, type Syndrome } from './abort-bench.ts';

const M2 = 0x20_0000;
const SLOT = { bytes: 4 * M2 };
/** The third page of a block. */
const AT = IPA + 2 * PAGE;
const PERMISSION_L2 = 0x0e;
const PERMISSION_L3 = 0x0f;
const ALL = Object.keys(PROFILES) as ProfileName[];

function injectedBy(kvm: ProfileName, ipa: number, syndrome: Syndrome): unknown {
  const bench = new AbortBench({ scenario: { kvm }, slot: SLOT });
  const result = bench.handle(ipa, syndrome);
  return [result, bench.vcpu.injected];
}

describe.each(ALL)('%s', (kvm) => {
  const isLater = kvm === '5.18' || kvm === '6.12';
  const scenario = { kvm };

  test('when the memcache is filled, where no area is found', () => {
    const bench = new AbortBench({ scenario, slot: SLOT });
    bench.host.vma = null;
    expect(bench.handle(AT, { write: true })).toBe('fault');
    expect(bench.vcpu.memcache.pages).toBe(isLater ? 40 : 0);
  });

  test('a page table in a read-only slot is read', () => {
    for (const ec of [INSTRUCTION_ABORT, undefined]) {
      const bench = new AbortBench({ scenario, slot: { ...SLOT, isReadonly: true } });
      const syndrome = { s1ptw: true, ...(ec === undefined ? {} : { ec }) };
      expect(bench.handle(AT, syndrome)).toBe('resume');
      expect(bench.leaf(AT)).toBe(`3 ${(PHYS + 2 * PAGE).toString(16)} r--`);
      expect(bench.vcpu.injected).toBeNull();
      // Where a permission is missing, it is a write.
      bench.handle(AT, { ...syndrome, fsc: PERMISSION_L3 });
      expect(bench.vcpu.injected).not.toBeNull();
    }
  });

  test('a fault outside of the IPA space, and outside of the machine', () => {
    const far = farOf(0);
    const data = ['resume', { exception: 'dataAbort', far: 2 ** 40 }];
    const fetch = ['resume', { exception: 'prefetchAbort', far: 2 ** 40 }];
    const size = ['resume', { exception: 'addressSizeFault', far }];
    const old = ['resume', { exception: 'prefetchAbort', far }];
    const exec = { ec: INSTRUCTION_ABORT };
    expect(injectedBy(kvm, 2 ** 40, { isv: true })).toEqual(isLater ? data : ['exit', null]);
    expect(injectedBy(kvm, 2 ** 40, exec)).toEqual(isLater ? fetch : old);
    expect(injectedBy(kvm, 2 ** 48, exec)).toEqual(isLater ? size : old);
    // Only where nothing was translated: the last address inside is looked up.
    expect(injectedBy(kvm, 2 ** 40, { ...exec, fsc: PERMISSION_L3 })).toEqual(old);
    expect(injectedBy(kvm, 2 ** 40 - PAGE, { isv: true })).toEqual(['exit', null]);
  });

  test('when a page is marked as written, and whether it is if nothing was mapped', () => {
    const bench = new AbortBench({ scenario, slot: { ...SLOT, isLogging: true } });
    const frame = (PHYS + 2 * PAGE).toString(16);
    const marks = [`dirty ${frame}`, 'log page 2'];
    expect(bench.handle(AT, { write: true })).toBe('resume');
    const steps = bench.taken().slice(1, 4);
    expect(steps).toEqual(isLater ? ['table', ...marks] : [...marks, 'table']);
    bench.outcome = 'again';
    bench.handle(AT, { write: true });
    expect(bench.taken().includes('log page 2')).toBe(!isLater);
  });

  test('whether it is marked under mmu_lock', () => {
    const bench = new AbortBench({ scenario, slot: SLOT });
    const { mmuLock } = bench.vm.parts;
    const held: boolean[] = [];
    bench.host.markDirty = function* look(): Op<void> {
      try {
        mmuLock.assertHeldFor('read');
        held.push(true);
      } catch {
        held.push(false);
      }
    };
    bench.handle(AT, { write: true });
    expect(held).toEqual([kvm !== '6.12']);
  });

  test('a permission that a block lacks, where the host has a page now', () => {
    const bench = new AbortBench({ scenario, slot: SLOT });
    bench.outcome = 'ok';
    bench.handle(AT, { write: true, fsc: PERMISSION_L2 });
    expect(bench.mapping?.size).toBe(isLater ? M2 : PAGE);
    expect(bench.mapping?.frame).toBe(isLater ? PHYS : PHYS + 2 * PAGE);
    expect(bench.mapping?.ipa).toBe(AT);
    // While the slot logs, the page is mapped in all of them.
    const logging = new AbortBench({ scenario, slot: { ...SLOT, isLogging: true } });
    logging.outcome = 'ok';
    logging.handle(AT, { write: true, fsc: PERMISSION_L2 });
    expect(logging.mapping?.size).toBe(PAGE);
  });

  test('how many leaves are aged', () => {
    const lab = new Lab({ kvm });
    const guest = new Guest(lab, 0);
    for (const ipa of [RAM, RAM + PAGE]) drive(guest.touch(ipa, 'write'));
    const { vm } = lab.view();
    const { mmuLock, stage2 } = vm.parts;
    drive(mmuLock.lock());
    const pgt = drive(vm.pgt()) as Stage2Pgtable;
    expect(drive(stage2.mkold(pgt, RAM, 2 * PAGE))).toBe(true);
    const young = [RAM, RAM + PAGE].map((ipa) => drive(stage2.isYoung(pgt, ipa, PAGE)));
    expect(young).toEqual([false, kvm !== '6.12']);
  });

  test('what change_pte does inside an invalidation, and outside of one', () => {
    const lab = new Lab({ kvm });
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    drive(guest.touch(RAM + PAGE, 'write'));
    const { notifier } = lab.view().vm.parts.host.mm;
    const [page] = [pagesOf(lab.slot, 0)];
    const to = 0x8000_3000 as Phys;
    const mapped = (): string => lab.leaf(RAM).hex.slice(4, 13);
    const before = mapped();
    drive(notifier.changePte(page.hva, to));
    const isAlways = kvm === 'legacy' || kvm === '5.10';
    expect(mapped() === before).toBe(!isAlways);
    expect(notifierWords(lab)).toEqual([isAlways ? 1 : 0, 0]);
    drive(notifier.invalidateRangeStart(page, true));
    drive(notifier.changePte(page.hva, to));
    const isMapped = lab.path(RAM).at(-1)?.value.isValid();
    expect([isMapped, lab.leaf(RAM + PAGE).level]).toEqual([kvm !== '6.12', 3]);
    drive(notifier.invalidateRangeEnd(page));
    expect(notifierWords(lab)).toEqual([isAlways ? 3 : 1, 0]);
  });

  test('whether a slot may reach the end of the IPA space, and what of it is mapped and cleaned at once', () => {
    const lab = new Lab({ kvm });
    const { vm } = lab.view();
    const end = vm.ipaPages * PAGE;
    const device = { hva: lab.slot.hva, bytes: PAGE, device: 0x900_0000 as Phys, isWritable: true };
    const areas = {
      *lock() {
        return [device];
      },
      *unlock() {},
    };
    const own = vmOf(lab.view(), { areas });
    const events = lab.run(new Scripted([]), [
      () => setMemoryRegion(own, spareRegion(lab, { bytes: PAGE })),
    ]);
    expect(mappedPages(lab, 0x8000_0000, 1)).toEqual(isLater ? [] : [0]);
    const walks = only(events, EventKind.walkBegin).length;
    expect(walks).toBe(isLater ? 0 : 2);
    const beyond = spareRegion(lab, { id: 2, ipa: end - PAGE, bytes: PAGE });
    expect(drive(setMemoryRegion(vm, beyond))).toBe(isLater ? 'ok' : 'fault');
    expect(drive(setMemoryRegion(vm, { ...beyond, id: 3, ipa: end }))).toBe('fault');
  });
});
