/** Patch 10: the ageing notifiers and access-flag faults on the library. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import { FSC } from '../../src/machine/syndrome.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import { Guest, Lab, only, RAM } from '../support/lab.ts';
import { pagesOf } from '../support/vm-of.ts';

const YOUNG = '00400000800007ff';
const OLD = '00400000800003ff';
const profiles = ['legacy', '5.10'] as const;

test.each(profiles)(
  '%s: clear_flush_young flushes the VMID once; the next access faults for its flag',
  (kvm) => {
    const lab = new Lab({ kvm });
    const guest = new Guest(lab, 0);
    drive(guest.touch(RAM, 'write'));
    const notifier = new KvmNotifier(lab.view().vm);
    const page = pagesOf(lab.slot, 0);
    const young: boolean[] = [];
    const events = lab.run(new Scripted([]), [
      function* age() {
        young.push(yield* notifier.clearFlushYoung(page));
        young.push(yield* notifier.clearFlushYoung(page));
      },
    ]);
    // The second finds it old, and has nothing to flush.
    expect(young).toEqual([true, false]);
    expect(only(events, EventKind.tlbi).map(({ at }) => at)).toEqual([TlbiKind.vmid]);
    expect(lab.leaf(RAM).hex).toBe(OLD);
    expect(drive(guest.touch(RAM, 'write'))).toBe(1);
    expect([guest.vcpu.fault.type, lab.leaf(RAM).hex]).toEqual([FSC.access, YOUNG]);
    expect(drive(notifier.testYoung(page.hva))).toBe(true);
  },
);

test.each(profiles)('%s: clear_young leaves what TLBs have: the guest goes on unseen', (kvm) => {
  const lab = new Lab({ kvm });
  const [hit, miss] = [new Guest(lab, 0), new Guest(lab, 1)];
  drive(hit.touch(RAM, 'write'));
  const notifier = new KvmNotifier(lab.view().vm);
  const page = pagesOf(lab.slot, 0);
  const events = lab.run(new Scripted([]), [() => notifier.clearYoung(page)]);
  expect([only(events, EventKind.tlbi), lab.leaf(RAM).hex]).toEqual([[], OLD]);
  expect(drive(hit.touch(RAM, 'write'))).toBe(0);
  expect(drive(notifier.testYoung(page.hva))).toBe(false);
  expect(drive(miss.touch(RAM, 'write'))).toBe(1);
  expect([miss.vcpu.fault.type, drive(notifier.testYoung(page.hva))]).toEqual([FSC.access, true]);
});

test.each(profiles)('%s: test_young changes nothing and is one walk', (kvm) => {
  const lab = new Lab({ kvm });
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  const notifier = new KvmNotifier(lab.view().vm);
  const events = lab.run(new Scripted([]), [() => notifier.testYoung(pagesOf(lab.slot, 0).hva)]);
  expect([only(events, EventKind.walkBegin).length, lab.entryStores(events)]).toEqual([1, []]);
});
