/** What a VM's MMU does for the operations of 6.12 (those of 5.10 are shown by the traces and patches). */
import { Order, drive, load32 } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import { NO_HINT, TlbiKind } from '../../src/machine/tlbi.ts';
import { Barrier, type Op } from '../../src/engine/port.ts';
import type { MmuLockSide } from '../../src/kvm/mmu-lock.ts';
import type { Vm } from '../../src/kvm/vm.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { MISS } from '../../src/machine/translation-array.ts';
import { stage2Map } from '../../src/pgtable/parallel/map.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { WalkFlag } from '../../src/pgtable/walker.ts';
import { tableCheckerOf } from '../../src/main/table-checker-of.ts';
import { runDaemon } from '../../src/workers/agents.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import type { World } from '../../src/workers/world.ts';
import { Guest, Lab, MIB, only, PAGE, RAM, type PathEntry, type Seen } from '../support/lab.ts';

const IPA = 0x4020_0000;
/** A word of nobody. */
const OWN = 8;

const alone = (lab: Lab, op: () => Op<unknown>): readonly Seen[] => lab.run(new Scripted([]), [op]);

const tlbis = (events: readonly Seen[]): object[] =>
  only(events, EventKind.tlbi).map(({ at: kind, newLo: hint, newHi: page }) => ({
    kind,
    hint,
    page,
  }));

function* locked(vm: Vm, side: MmuLockSide, op: () => Op<unknown>): Op<void> {
  yield* vm.parts.mmuLock.lockFor(side);
  yield* op();
  yield* vm.parts.mmuLock.unlock();
}

test('a local invalidation is performed by the CPU that the agent runs on, and posted to nobody', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(IPA, 'write'));
  drive(guest.touch(IPA + PAGE, 'write'));
  const { mmu } = guest.world.vm.parts;
  const vmid = drive(mmu.vmid());
  const cached = (): boolean[] =>
    [IPA, IPA + PAGE].map((ipa) => guest.cpu.tlb.find(ipa, 3, vmid) !== MISS);
  expect(cached()).toEqual([true, true]);
  const events = alone(lab, () => mmu.tlbFlushIpaLocal(IPA, 3));
  expect(tlbis(events)).toEqual([]);
  expect(only(events, EventKind.barrier).map(({ extra }) => extra)).toEqual([
    Barrier.dsbNsh,
    Barrier.dsbNsh,
    Barrier.isb,
  ]);
  expect(cached()).toEqual([false, true]);
  expect(lab.counter(0, STATISTICS.tlbi.local)).toBe(1);
  expect(() => drive(lab.view().vm.parts.mmu.tlbFlushIpaLocal(IPA, 3))).toThrow('without a CPU');
});

test('without FEAT_TLBIRANGE a range is invalidated by the whole VMID', () => {
  const lab = new Lab();
  const { mmu } = lab.world.vm.parts;
  expect(mmu.hasRangeTlbi).toBe(false);
  expect(tlbis(alone(lab, () => mmu.tlbFlushRange(IPA, 3 * PAGE)))).toEqual([
    { kind: TlbiKind.vmid, hint: NO_HINT, page: 0 },
  ]);
});

test('a guest with stage 1: after the TLBI by IPA is complete, one of all combined entries', () => {
  const lab = new Lab({
    contents: 'page',
    stage1: { vaBits: 39, accessFlag: 'preset', dirtyState: false },
  });
  const { mmu } = lab.world.vm.parts;
  const events = alone(lab, () => mmu.tlbFlushIpa(IPA, 3));
  const { tlbi, dsbComplete } = EventKind;
  const order = events.filter(({ kind }) => kind === tlbi || kind === dsbComplete);
  expect(order.map(({ kind, at }) => (kind === tlbi ? at : 'DSB'))).toEqual([
    TlbiKind.ipa,
    'DSB',
    TlbiKind.stage1,
    'DSB',
  ]);
  expect(tlbis(events)).toMatchObject([{ hint: 3, page: IPA / PAGE }, { page: 0 }]);
});

test('with it a range is invalidated in pieces, complete by one DSB', () => {
  const features = { ...PLAIN_4K.features, tlbiRange: true };
  const lab = new Lab({ machine: { ...PLAIN_4K, features } });
  const guest = new Guest(lab, 0);
  for (const page of [0, 2, 3]) drive(guest.touch(IPA + page * PAGE, 'write'));
  const { mmu } = guest.world.vm.parts;
  const vmid = drive(mmu.vmid());
  expect(mmu.hasRangeTlbi).toBe(true);
  const events = alone(lab, () => mmu.tlbFlushRange(IPA, 3 * PAGE));
  const page = IPA / PAGE;
  expect(tlbis(events)).toEqual([
    { kind: TlbiKind.range, hint: 0, page },
    { kind: TlbiKind.ipa, hint: NO_HINT, page: page + 2 },
  ]);
  expect(only(events, EventKind.dsbComplete)).toHaveLength(1);
  expect(lab.counter(0, STATISTICS.tlbi.range)).toBe(1);
  // The next access boundary is where the CPU performs them.
  drive(guest.touch(RAM + 3 * MIB, 'read'));
  const left = [0, 1, 2, 3].filter((at) => guest.cpu.tlb.find(IPA + at * PAGE, 3, vmid) !== MISS);
  expect(left).toEqual([3]);
});

test('a table that a block replaced waits for the end of the walks that may be in it', () => {
  const lab = new Lab({ kvm: '6.12' });
  const guest = new Guest(lab, 0);
  drive(guest.touch(IPA, 'write'));
  const used = lab.used('tables');
  const pgt = drive(guest.world.vm.pgt()) as Stage2Pgtable;
  const events = alone(lab, () =>
    locked(guest.world.vm, 'read', function* map() {
      yield* stage2Map(pgt, {
        ipa: IPA,
        size: 2 * MIB,
        phys: GUEST_RAM_BASE,
        prot: Prot.r | Prot.x,
        cache: null,
        flags: WalkFlag.shared,
      });
    }),
  );
  expect(lab.used('tables')).toBe(used);
  expect(only(events, EventKind.frameFree)).toEqual([]);
  expect(lab.leaf(IPA)).toEqual({ level: 2, hex: '000000008000077d' });
  expect(only(events, EventKind.icacheInvalidate)).toMatchObject([
    { at: GUEST_RAM_BASE / PAGE, newLo: 2 * MIB },
  ]);
  // Another agent is in a walk: its section has to end. The daemon ends when it has freed what there is.
  drive(guest.world.tablesRcu.retire());
  const other = lab.view(1).vm.parts;
  const order: string[] = [];
  lab.run(
    new Scripted([
      { agent: 1, until: ({ at }) => at === OWN },
      { agent: 0, toEnd: true },
    ]),
    [
      function* free(): Op<void> {
        yield* runDaemon(guest.world);
        order.push(`freed ${used - lab.used('tables')}`);
      },
      function* walkAbout(): Op<void> {
        yield* other.mmuLock.lockFor('read');
        yield* other.sections.readLock();
        yield* load32(OWN, Order.once);
        order.push('walked');
        yield* other.sections.readUnlock();
        yield* other.mmuLock.unlock();
      },
    ],
  );
  expect(order).toEqual(['walked', 'freed 1']);
  expect(lab.used('tables')).toBe(used - 1);
  // The walk of the detached table is none of the live one.
  expect(only(events, EventKind.walkBegin)).toHaveLength(1);
});

test.each([
  ['swap', EventKind.cas64],
  ['make', EventKind.store64],
])(
  'a table that is replaced before the %s of another walk hurts nobody: what was mapped goes with it',
  (_, next) => {
    const lab = new Lab({ kvm: '6.12' });
    const guest = new Guest(lab, 0);
    drive(guest.touch(IPA, 'write'));
    const used = lab.used('tables');
    const entry = (lab.path(IPA).at(-1) as PathEntry).at + 8;
    const [blocker, mapper, daemon] = [lab.view(0), lab.view(1), lab.view(2)];
    drive(daemon.tablesRcu.retire());
    const outcomes: Outcome[] = [];
    function* map({ vm }: World, ipa: number, size: number): Op<void> {
      const pgt = (yield* vm.pgt()) as Stage2Pgtable;
      const request = { ipa, size, phys: GUEST_RAM_BASE, prot: Prot.r, cache: null };
      const flags = WalkFlag.shared | WalkFlag.handleFault;
      yield* locked(vm, 'read', function* walk() {
        outcomes.push(yield* stage2Map(pgt, { ...request, flags }));
      });
    }
    const script = new Scripted([
      { agent: 1, until: ({ kind, at }) => kind === next && at === entry },
      { agent: 0, toEnd: true },
      // It has the table, and waits for the mapper's section.
      { agent: 2, toEnd: true },
      { agent: 1, toEnd: true },
    ]);
    const checker = tableCheckerOf(lab.shared);
    const agents = [
      () => map(blocker, IPA, 2 * MIB),
      () => map(mapper, IPA + PAGE, PAGE),
      () => runDaemon(daemon),
    ];
    const events = lab.run(script, agents, [checker]);
    checker.finish();
    expect(checker.findings).toEqual([]);
    expect(outcomes).toEqual(['ok', 'ok']);
    expect(lab.leaf(IPA).level).toBe(2);
    const story = events.filter(({ kind, at }) => at === entry || kind === EventKind.frameFree);
    const kinds = [EventKind.cas64, EventKind.store64, EventKind.frameFree] as readonly number[];
    expect(story.map(({ kind }) => kind).filter((kind) => kinds.includes(kind))).toEqual(kinds);
    expect(lab.used('tables')).toBe(used - 1);
  },
);
