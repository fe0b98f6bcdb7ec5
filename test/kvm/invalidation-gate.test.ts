/** Slots that change and invalidations that are open, 5.18 on. */
import { drive, type Op } from '#port';
import { expect, test } from 'vitest';
import { Scripted } from '../../src/explore/scripted.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { regionOf, setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { Lab } from '../support/lab.ts';
import { notifierWords, pagesOf, spareRegion } from '../support/vm-of.ts';

const KVM = ['5.18', '6.12'] as const;

/** A range of user addresses that no slot has yet, but the one that is created. */
const HVA = 0x6000_0000_0000;

test.each(KVM)('%s: a slot that appears over an open invalidation waits for its end', (kvm) => {
  const lab = new Lab({ kvm });
  const [host, user] = [lab.view(0).vm, lab.view(1).vm];
  const range = { hva: HVA as never, bytes: 2 * 4096 };
  const order: string[] = [];
  const notifier = host.parts.host.mm.notifier;
  drive(notifier.invalidateRangeStart(range, true));
  lab.run(new Scripted([{ agent: 1, toEnd: true }]), [
    function* end(): Op<void> {
      order.push('ends');
      yield* notifier.invalidateRangeEnd(range);
    },
    function* create(): Op<void> {
      const outcome = yield* setMemoryRegion(user, spareRegion(lab, { hva: HVA }));
      order.push(`created: ${outcome}`);
    },
  ]);
  expect(order).toEqual(['ends', 'created: ok']);
  expect(notifierWords(lab)).toEqual([0, 0]);
});

test.each(KVM)('%s: starts and ends count alike, whatever slots come and go', (kvm) => {
  for (let seed = 1; seed <= 40; seed++) {
    const lab = new Lab({ kvm });
    const [host, user] = [lab.view(0).vm, lab.view(1).vm];
    const { notifier } = host.parts.host.mm;
    const page = pagesOf(lab.slot, 0);
    const region = regionOf(lab.slot);
    lab.run(new RandomScheduler(seed), [
      function* invalidate(): Op<void> {
        for (let i = 0; i < 3; i++) {
          yield* notifier.invalidateRangeStart(page, true);
          yield* notifier.invalidateRangeEnd(page);
        }
      },
      function* move(): Op<void> {
        yield* setMemoryRegion(user, { ...region, bytes: 0 });
        yield* setMemoryRegion(user, region);
      },
    ]);
    expect(notifierWords(lab)[1]).toBe(0);
  }
});

test('an end without a start is told', () => {
  const lab = new Lab({ kvm: '6.12' });
  expect(() => drive(lab.view().vm.parts.gate.leave())).toThrow('that did not start');
});
