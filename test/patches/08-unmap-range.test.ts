/** Patch 8: unmapping a long range in chunks of one entry of the root, the lock handed over in between, teardown in the gap. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, type Op } from '../../src/engine/explore.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import type { ProfileName } from '../../src/kvm/profile.ts';
import type { Vm } from '../../src/kvm/vm.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Guest, Lab, only, PAGE, type Seen } from '../support/lab.ts';
import { isTornDown, notifierWords, pagesOf } from '../support/vm-of.ts';

/** A slot that meets three entries of the root, a page mapped in each. */
const BASE = 0x7ff0_0000;
const IPAS = [BASE, 0x9000_0000, 0xc000_0000];
const BYTES = 0x4020_0000;
const profiles = ['legacy', '5.10'] as const;

function mappedLab(kvm: ProfileName): Lab {
  const lab = new Lab({ kvm, slots: [{ base: BASE, bytes: BYTES, logging: false }] });
  const guest = new Guest(lab, 0);
  for (const ipa of IPAS) drive(guest.touch(ipa, 'write'));
  return lab;
}

/** How many of the pages are mapped. */
function mapped(lab: Lab): number {
  return IPAS.filter((ipa) => lab.path(ipa).at(-1)?.value.isValid()).length;
}

/** The same for the holder of the lock. */
function* mappedNow(vm: Vm): Op<number> {
  let pages = 0;
  for (const ipa of IPAS) {
    const leaf = yield* getLeaf((yield* vm.pgt()) as Stage2Pgtable, ipa);
    if (typeof leaf !== 'string' && leaf.entry.isValid()) pages++;
  }
  return pages;
}

/** A notifier of the whole slot, while another agent waits for the lock and then does `then`. */
function unmapAgainst(
  lab: Lab,
  mayBlock: boolean,
  then: (pagesLeft: number) => Op<void>,
): readonly Seen[] {
  const notifier = new KvmNotifier(lab.view().vm);
  const other = lab.view(1);
  const { stage2Root } = lab.world.layout.words;
  const script = new Scripted([
    { agent: 0, until: ({ at }) => at === stage2Root },
    { agent: 1, until: ({ kind }) => kind === EventKind.wait },
  ]);
  return lab.run(script, [
    () => notifier.invalidateRangeStart(pagesOf(lab.slot, 0, BYTES / PAGE), mayBlock),
    function* waiter() {
      yield* other.vm.parts.mmuLock.lock();
      const left = yield* mappedNow(other.vm);
      yield* other.vm.parts.mmuLock.unlock();
      yield* then(left);
    },
  ]);
}

test.each(profiles.flatMap((kvm) => [[kvm, true, 2] as const, [kvm, false, 0] as const]))(
  '%s, may block: %s: a waiter finds %i of three pages',
  (kvm, mayBlock, pagesLeft) => {
    const lab = mappedLab(kvm);
    const seen: number[] = [];
    unmapAgainst(lab, mayBlock, function* note(left) {
      seen.push(left);
    });
    expect([seen, mapped(lab), notifierWords(lab)]).toEqual([[pagesLeft], 0, [0, 1]]);
  },
);

test.each(profiles)('%s: the lock that nobody wants is kept over all chunks', (kvm) => {
  const lab = mappedLab(kvm);
  const notifier = new KvmNotifier(lab.view().vm);
  const range = pagesOf(lab.slot, 0, BYTES / PAGE);
  const events = lab.run(new Scripted([]), [() => notifier.invalidateRangeStart(range, true)]);
  const { mmu_lock } = lab.world.layout.locks;
  expect(only(events, EventKind.lockAcquired).filter(({ at }) => at === mmu_lock)).toHaveLength(1);
  expect(only(events, EventKind.walkBegin)).toHaveLength(3);
});

test.each(profiles)(
  '%s: teardown in the gap ends it: no chunk is looked at, no page freed twice',
  (kvm) => {
    const lab = mappedLab(kvm);
    const notifier = new KvmNotifier(lab.view().vm);
    const other = lab.view(1);
    const caches = new Guest(lab, 0).vcpu.memcache.pages;
    const script = new Scripted([
      { agent: 0, until: ({ at }) => at === lab.world.layout.words.stage2Root },
      { agent: 1, until: ({ kind }) => kind === EventKind.wait },
    ]);
    const events = lab.run(script, [
      () => notifier.invalidateRangeStart(pagesOf(lab.slot, 0, BYTES / PAGE), true),
      () => other.vm.freeStage2(),
    ]);
    expect(isTornDown(lab)).toBe(true);
    const walks = only(events, EventKind.walkBegin).filter(({ agent }) => agent === 0);
    expect([walks.length, lab.used('tables')]).toEqual([1, caches]);
    // The invalidation is open, and closes.
    drive(notifier.invalidateRangeEnd(pagesOf(lab.slot, 0, BYTES / PAGE)));
    expect(notifierWords(lab)).toEqual([1, 0]);
  },
);
