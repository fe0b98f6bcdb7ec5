/** What a VM's MMU does for the operations of 6.12 (those of 5.10 are shown by the traces and patches). */
import { drive } from '#port';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Scripted } from '../../src/explore/scripted.ts';
import { GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import { NO_HINT, TlbiKind } from '../../src/machine/tlbi.ts';
import type { Op } from '../../src/engine/port.ts';
import { stage2Map } from '../../src/pgtable/parallel/map.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { WalkFlag } from '../../src/pgtable/walker.ts';
import { Guest, Lab, MIB, only, PAGE, type Seen } from '../support/lab.ts';

const IPA = 0x4020_0000;

const alone = (lab: Lab, op: () => Op<unknown>): readonly Seen[] => lab.run(new Scripted([]), [op]);

const tlbis = (events: readonly Seen[]): object[] =>
  only(events, EventKind.tlbi).map(({ at: kind, newLo: hint, newHi: page }) => ({
    kind,
    hint,
    page,
  }));

test('a local invalidation is broadcast, one of a range is of the whole VMID', () => {
  const lab = new Lab();
  const { mmu } = lab.world.vm.parts;
  expect(mmu.hasRangeTlbi).toBe(false);
  expect(tlbis(alone(lab, () => mmu.tlbFlushIpaLocal(IPA, 3)))).toEqual([
    { kind: TlbiKind.ipa, hint: 3, page: IPA / PAGE },
  ]);
  expect(tlbis(alone(lab, () => mmu.tlbFlushRange()))).toEqual([
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

test('a table that a block replaced is freed, after the flush', () => {
  const lab = new Lab();
  const guest = new Guest(lab, 0);
  drive(guest.touch(IPA, 'write'));
  const used = lab.used('tables');
  const pgt = drive(guest.world.vm.pgt()) as Stage2Pgtable;
  const events = alone(lab, () =>
    stage2Map(pgt, {
      ipa: IPA,
      size: 2 * MIB,
      phys: GUEST_RAM_BASE,
      prot: Prot.r | Prot.x,
      cache: null,
      flags: WalkFlag.shared,
    }),
  );
  expect(lab.used('tables')).toBe(used - 1);
  expect(lab.leaf(IPA)).toEqual({ level: 2, hex: '000000008000077d' });
  const order = events.map(({ kind }) => kind);
  expect(order.indexOf(EventKind.dsbComplete)).toBeLessThan(order.indexOf(EventKind.frameFree));
  expect(only(events, EventKind.icacheInvalidate)).toMatchObject([
    { at: GUEST_RAM_BASE / PAGE, newLo: 2 * MIB },
  ]);
  // The walk of the detached table is none of the live one.
  expect(only(events, EventKind.walkBegin)).toHaveLength(1);
});
