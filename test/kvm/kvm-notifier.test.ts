/** KVM's side of the notifier (specification 5I): which slots and pages a range meets, the order of count and unmap, races with faults. */
import { drive, load32, Order, type Op } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { discardRange } from '../../src/kvm/host/discard.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { SlotFlag, type SlotFields } from '../../src/kvm/memslots.ts';
import type { Hva, Phys } from '../../src/machine/address.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { Guest, Lab, PAGE, RAM, toLock } from '../support/lab.ts';
import { cleaned, mappedPages, notifierWords, pagesOf, spareRegion } from '../support/vm-of.ts';

const FREE = 0x8000_0000;
const COPY = 0x8000_5000 as Phys;

/** Four mapped pages, the middle two of them at {@link FREE} too, in a second slot. */
function twoSlots(): Lab {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(setMemoryRegion(lab.world.vm, spareRegion(lab, { hva: lab.slot.hva + PAGE })));
  for (const page of [0, 1, 2, 3]) drive(guest.touch(RAM + page * PAGE, 'write'));
  for (const page of [0, 1]) drive(guest.touch(FREE + page * PAGE, 'write'));
  return lab;
}

const mapped = (lab: Lab): readonly number[][] => [
  mappedPages(lab, RAM, 6),
  mappedPages(lab, FREE, 6),
];

test.each([
  ['one page in both slots', 1, 1, [0, 2, 3], [1]],
  ['a page outside the second', 3, 1, [0, 1, 2], [0, 1]],
  ['pages across the edges of the second', 0, 2, [2, 3], [1]],
  ['more than both', -4, 2000, [], []],
  ['nothing of any slot, below', -4, 4, [0, 1, 2, 3], [0, 1]],
  ['nothing of any slot, above', 1024, 4, [0, 1, 2, 3], [0, 1]],
])('unmaps %s', (_, page, pages, first, second) => {
  const lab = twoSlots();
  const notifier = new KvmNotifier(lab.world.vm);
  const range = pagesOf(lab.slot, page, pages);
  drive(notifier.invalidateRangeStart(range, true));
  expect([mapped(lab), notifierWords(lab)]).toEqual([
    [first, second],
    [0, 1],
  ]);
  drive(notifier.invalidateRangeEnd(range));
  expect(notifierWords(lab)).toEqual([1, 0]);
});

test('unmaps, ages and replaces in both slots', () => {
  const lab = twoSlots();
  const notifier = new KvmNotifier(lab.world.vm);
  const page = pagesOf(lab.slot, 2);
  const young = (): boolean => drive(notifier.testYoung(page.hva));
  expect([young(), drive(notifier.clearYoung(page)), young()]).toEqual([true, true, false]);
  const leaves = (): string[] => [RAM + 2 * PAGE, FREE + PAGE].map((ipa) => lab.leaf(ipa).hex);
  expect(leaves()).toEqual(['00400000800023ff', '00400000800023ff']);
  // One young leaf of two is enough.
  drive(new Guest(lab, 1).touch(FREE + PAGE, 'read'));
  expect([young(), drive(notifier.clearFlushYoung(page)), young()]).toEqual([true, true, false]);
  drive(notifier.changePte(page.hva, COPY));
  expect(leaves()).toEqual(['004000008000577f', '004000008000577f']);
});

test('only the first leaf of an intersection is aged: a range is one entry of the host', () => {
  const lab = twoSlots();
  const notifier = new KvmNotifier(lab.world.vm);
  expect(drive(notifier.clearYoung(pagesOf(lab.slot, 2, 2)))).toBe(true);
  const { hva } = pagesOf(lab.slot, 3);
  expect(drive(notifier.testYoung(hva))).toBe(true);
});

test('the count is there before anything is unmapped, the flush before the lock is free', () => {
  const lab = twoSlots();
  const { vm } = lab.view();
  const { notifierCount } = lab.world.layout.words;
  const { mmu_lock } = lab.world.layout.locks;
  const events = lab.run(new Scripted([]), [
    () => new KvmNotifier(vm).invalidateRangeStart(pagesOf(lab.slot, 3), false),
  ]);
  const order = events.flatMap(({ kind, at }) => {
    if (kind === EventKind.lockAcquired && at === mmu_lock) return ['lock'];
    if (kind === EventKind.lockReleased && at === mmu_lock) return ['unlock'];
    if (kind === EventKind.store32 && at === notifierCount) return ['count'];
    if (kind === EventKind.dsbComplete) return ['complete'];
    return [];
  });
  expect(order).toEqual(['lock', 'count', 'complete', 'unlock']);
  expect(lab.entryStores(events)).toHaveLength(1);
});

test('with FWB a copy is not cleaned', () => {
  const lab = new Lab({ machine: { ...PLAIN_4K, features: { ...PLAIN_4K.features, fwb: true } } });
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  const { vm } = lab.view();
  const { hva } = lab.slot;
  const events = lab.run(new Scripted([]), [() => new KvmNotifier(vm).changePte(hva, COPY)]);
  expect([cleaned(events), lab.leaf(RAM).hex]).toEqual([[], '004000008000575b']);
});

test('a slot that is about to go gets no copy: nobody would unmap it again', () => {
  const lab = twoSlots();
  const { vm } = lab.world;
  const { memslots } = vm.parts;
  const retired = memslots.slots.map(({ id, baseGfn, pages, hva, flags }): SlotFields => {
    return { id, baseGfn, pages, hva, flags: id === 0 ? flags | SlotFlag.invalid : flags };
  });
  drive(memslots.slotsLock.lock());
  drive(memslots.publish(retired));
  drive(memslots.slotsLock.unlock());
  const notifier = new KvmNotifier(vm);
  const page = pagesOf(lab.slot, 1);
  drive(notifier.invalidateRangeStart(page, true));
  // What is still mapped of it goes with the host's page.
  expect(mapped(lab)).toEqual([[0, 2, 3], [1]]);
  drive(notifier.changePte(page.hva, COPY));
  expect(mapped(lab)).toEqual([
    [0, 2, 3],
    [0, 1],
  ]);
});

test('B7: between start and end, and after it, a fault that pinned before maps nothing', () => {
  for (const isEnded of [false, true]) {
    const lab = new Lab();
    const [guest, host] = [new Guest(lab, 0), new KvmNotifier(lab.view().vm)];
    const range = pagesOf(lab.slot, 0);
    const script = new Scripted([toLock(lab, 0), { agent: 1, toEnd: true }]);
    lab.run(script, [
      function* fault() {
        // Without waiting for the end, which another call brings.
        yield* guest.try(RAM, 'write');
      },
      function* change() {
        yield* host.invalidateRangeStart(range, true);
        if (isEnded) yield* host.invalidateRangeEnd(range);
        else yield* later(lab, () => host.invalidateRangeEnd(range));
      },
    ]);
    expect([isEnded, mappedPages(lab, RAM, 1), lab.counter(0, STATISTICS.retried)]).toEqual([
      isEnded,
      [],
      1,
    ]);
  }
});

/** Does something once the other agent waits for the end of the invalidation, or has gone on. */
function* later(lab: Lab, act: () => Op<void>): Op<void> {
  const { mmuLock } = lab.view(3).vm.parts;
  for (let turn = 0; turn < 4; turn++) {
    yield* mmuLock.lock();
    yield* mmuLock.unlock();
  }
  yield* act();
}

test('in 300 schedules of two vCPUs and two notifiers no page is mapped that its host gave away', () => {
  const lab = new Lab({ slots: [{ base: RAM, bytes: 4 * PAGE, logging: false }] });
  drive(new Guest(lab, 0).touch(RAM, 'write'));
  lab.shared.explore.baseline();
  let kept = 0;
  for (let seed = 0; seed < 300; seed++) {
    lab.shared.explore.restore();
    const guests = [new Guest(lab, 0), new Guest(lab, 1)];
    const hosts = [lab.view(2), lab.view(3)];
    lab.runWith(new RandomScheduler(seed), [
      ...guests.map(
        (guest, id) =>
          function* run(): Op<void> {
            for (const page of [id, 1 - id]) yield* guest.touch(RAM + page * PAGE, 'write');
          },
      ),
      ...hosts.map(
        ({ vm }, page) =>
          function* take(): Op<void> {
            // Not before the first fault has looked its page up, unless by chance.
            for (let i = 0; i < seed % 64; i++)
              yield* load32(lab.world.layout.words.stop, Order.once);
            yield* discardRange(vm.parts.host.mm, pagesOf(lab.slot, page));
          },
      ),
    ]);
    for (const page of [0, 1]) {
      const leaf = lab.path(RAM + page * PAGE).at(-1)?.value;
      if (leaf?.isValid() !== true) continue;
      kept++;
      const frame = lab.world.vm.parts.host.lookup((lab.slot.hva + page * PAGE) as Hva);
      expect([seed, leaf.address(lab.world.vm.parts.geometry)]).toEqual([seed, frame]);
    }
    expect([seed, notifierWords(lab)]).toEqual([seed, [2, 0]]);
  }
  expect(kept).toBeGreaterThan(150);
});
