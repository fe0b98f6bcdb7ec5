/** Patch 17: whether the table's handle is there is the one test of liveness. After teardown, and in the middle of it, nothing is touched. */
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { drive, load32, type Op } from '../../src/engine/explore.ts';
import { Order } from '../../src/engine/port.ts';
import { RandomScheduler } from '../../src/explore/random.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { flushVm } from '../../src/kvm/cache-toggle.ts';
import { enableDirtyLog } from '../../src/workers/host-operations.ts';
import { ioremap } from '../../src/kvm/ioremap.ts';
import { KvmNotifier } from '../../src/kvm/kvm-notifier.ts';
import type { Phys } from '../../src/machine/address.ts';
import type { World } from '../../src/workers/world.ts';
import { Guest, Lab, only, PAGE, RAM } from '../support/lab.ts';
import { isTornDown, notifierWords, pagesOf } from '../support/vm-of.ts';

const profiles = ['legacy', '5.10'] as const;
const COPY = 0x8000_5000 as Phys;

/** Everything asynchronous that reaches a table. */
function users(lab: Lab, host: World): Readonly<Record<string, () => Op<unknown>>> {
  const { vm } = host;
  const notifier = new KvmNotifier(vm);
  const page = pagesOf(lab.slot, 0, 2);
  return {
    *unmap() {
      yield* notifier.invalidateRangeStart(page, true);
      yield* notifier.invalidateRangeEnd(page);
    },
    changePte: () => notifier.changePte(page.hva, COPY),
    clearFlushYoung: () => notifier.clearFlushYoung(page),
    clearYoung: () => notifier.clearYoung(page),
    testYoung: () => notifier.testYoung(page.hva),
    release: () => notifier.release(),
    flush: () => flushVm(vm),
    writeProtect: () => enableDirtyLog(host, lab.slot),
    ioremap: () =>
      ioremap(vm, { ipa: 0x1000_0000, phys: 0x800_0000, bytes: PAGE, isWritable: true }),
  };
}

const names = Object.keys(users(new Lab(), new Lab().world));

test.each(profiles.flatMap((kvm) => names.map((name) => [kvm, name] as const)))(
  '%s: %s after teardown: no walk, no store, no page',
  (kvm, name) => {
    const lab = new Lab({ kvm });
    drive(new Guest(lab, 0).touch(RAM, 'write'));
    drive(new KvmNotifier(lab.world.vm).release());
    const used = lab.used('tables');
    const user = users(lab, lab.view())[name] as () => Op<unknown>;
    const events = lab.run(new Scripted([]), [user]);
    expect([only(events, EventKind.walkBegin), lab.entryStores(events)]).toEqual([[], []]);
    expect([lab.used('tables'), isTornDown(lab)]).toEqual([used, true]);
    expect(notifierWords(lab)[1]).toBe(0);
  },
);

test.each(profiles.flatMap((kvm) => names.map((name) => [kvm, name] as const)))(
  '%s: %s against teardown, in 40 schedules: every page is freed once',
  (kvm, name) => {
    const lab = new Lab({ kvm });
    const guest = new Guest(lab, 0);
    for (const page of [0, 1]) drive(guest.touch(RAM + page * PAGE, 'write'));
    const cached = guest.vcpu.memcache.pages;
    lab.shared.explore.baseline();
    const ends = { torn: 0, first: 0 };
    for (let seed = 0; seed < 40; seed++) {
      lab.shared.explore.restore();
      const user = users(lab, lab.view())[name] as () => Op<unknown>;
      const other = new KvmNotifier(lab.view(1).vm);
      const events = lab.run(new RandomScheduler(seed), [
        user,
        function* tearDown() {
          // Some users have much to do before they reach the table.
          const { notifierCount } = lab.world.layout.words;
          for (let i = 0; i < (seed % 2) * (seed % 20) * 40; i++)
            yield* load32(notifierCount, Order.once);
          yield* other.release();
        },
      ]);
      expect([seed, lab.used('tables'), isTornDown(lab)]).toEqual([seed, cached, true]);
      const isWalked = events.some(
        ({ agent, kind }) => agent === 0 && kind === EventKind.walkBegin,
      );
      ends[isWalked ? 'first' : 'torn']++;
    }
    // Both orders were seen; a second teardown walks only to destroy.
    expect(Math.min(ends.torn, ends.first)).toBeGreaterThan(2);
  },
  60_000,
);
