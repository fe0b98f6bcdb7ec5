/**
 * KVM's side of the MMU notifier (specification section 5I): what stage 2 does when the host changes user memory. Every handler takes an SRCU
 * read section and then `mmu_lock`, and meets every slot whose user addresses the range touches.
 *
 * Once the table is gone (the host's address space ended, or the VM was destroyed) only sequence and count go on.
 */
import type { Op } from '#port';
import type { Hva, Phys } from '../machine/address.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { HvaRange, MmuNotifier } from './host/mmu-notifier.ts';
import type { Memslot } from './memslots.ts';
import { applyRangeLocked, type IpaRange } from './range.ts';
import type { Vm } from './vm.ts';

/** Guest memory that a range of user addresses meets in one slot. */
export interface Meeting extends IpaRange {
  readonly slot: Memslot;
}

export class KvmNotifier implements MmuNotifier {
  protected readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  /** Opens the invalidation before anything is unmapped: a fault that comes in between finds the count. */
  *invalidateRangeStart(range: HvaRange, mayBlock: boolean): Op<void> {
    const { notifier, gate } = this.vm.parts;
    yield* gate.enter();
    const met = yield* this.enter(range);
    if (met === null) return;
    yield* notifier.startLocked();
    for (const ipas of met) {
      yield* applyRangeLocked(this.vm, ipas, 'unmap', mayBlock ? 'yielding' : 'holding');
    }
    yield* this.leave();
  }

  *invalidateRangeEnd(range: HvaRange): Op<void> {
    const { notifier, gate } = this.vm.parts;
    const met = yield* this.enter(range);
    if (met !== null) {
      yield* notifier.endLocked();
      yield* this.leave();
    }
    yield* gate.leave();
  }

  /** Maps the new page read-only where a table for it exists; faults in flight looked up the old one. */
  *changePte(hva: Hva, frame: Phys): Op<void> {
    const { notifier, geometry } = this.vm.parts;
    const met = yield* this.enter({ hva, bytes: geometry.pageBytes });
    if (met === null) return;
    yield* notifier.changeLocked();
    yield* this.replaceLocked(met, frame);
    yield* this.leave();
  }

  /** The flush comes before anything is told: the next access to the range sets an access flag again. */
  *clearFlushYoung(range: HvaRange): Op<boolean> {
    const met = yield* this.enter(range);
    if (met === null) return false;
    const isYoung = yield* this.#mkoldLocked(met);
    if (isYoung) yield* this.vm.parts.mmu.tlbFlushVmid();
    yield* this.leave();
    return isYoung;
  }

  *clearYoung(range: HvaRange): Op<boolean> {
    const met = yield* this.enter(range);
    if (met === null) return false;
    const isYoung = yield* this.#mkoldLocked(met);
    yield* this.leave();
    return isYoung;
  }

  *testYoung(hva: Hva): Op<boolean> {
    const { stage2, geometry } = this.vm.parts;
    const met = yield* this.enter({ hva, bytes: geometry.pageBytes });
    if (met === null) return false;
    const pgt = yield* this.vm.pgt();
    let isYoung = false;
    for (const { ipa, bytes } of met) {
      if (pgt !== null && (yield* stage2.isYoung(pgt, ipa, bytes))) isYoung = true;
    }
    yield* this.leave();
    return isYoung;
  }

  /** Teardown. Notifications that come later, or run now, find no table. */
  *release(): Op<void> {
    const { memslots } = this.vm.parts;
    yield* memslots.readLock();
    yield* this.vm.freeStage2();
    yield* memslots.readUnlock();
  }

  /** Opens a read section and takes `mmu_lock`; gives what the range meets, slots that are about to go included. Null: nothing is open or held. */
  protected *enter(range: HvaRange): Op<readonly Meeting[] | null> {
    const met = yield* this.meetings(range);
    yield* this.vm.parts.mmuLock.lock();
    return met;
  }

  /** Opens a read section of the slots. One page may be in several. */
  protected *meetings(range: HvaRange): Op<readonly Meeting[]> {
    const { memslots } = this.vm.parts;
    yield* memslots.readLock();
    return intersections(yield* memslots.all(), range);
  }

  protected *leave(): Op<void> {
    const { memslots, mmuLock } = this.vm.parts;
    yield* mmuLock.unlock();
    yield* memslots.readUnlock();
  }

  /** Not in a slot that is about to go, where we deviate: its range may be unmapped already, and nobody would unmap it again. */
  protected *replaceLocked(met: readonly Meeting[], frame: Phys): Op<void> {
    const { mmu, stage2, geometry } = this.vm.parts;
    const pgt = yield* this.vm.pgt();
    if (pgt === null) return;
    if (!pgt.attributes.fwb) yield* mmu.dcacheCleanInvalidate(frame, geometry.pageBytes);
    for (const { ipa, slot } of met) {
      if (!slot.isInvalid) yield* stage2.changePte(pgt, ipa, frame);
    }
  }

  /** A range is one entry of the host's table. */
  *#mkoldLocked(met: readonly Meeting[]): Op<boolean> {
    const pgt: Stage2Pgtable | null = yield* this.vm.pgt();
    if (pgt === null) return false;
    let isYoung = false;
    for (const { ipa, bytes } of met) {
      if (yield* this.vm.parts.stage2.mkold(pgt, ipa, bytes)) isYoung = true;
    }
    return isYoung;
  }
}

/** The guest memory behind a range of user addresses, slot by slot. */
function intersections(slots: readonly Memslot[], range: HvaRange): Meeting[] {
  return slots.flatMap((slot) => {
    const first = Math.max(slot.hva, range.hva);
    const end = Math.min(slot.hva + slot.bytes, range.hva + range.bytes);
    return first < end ? [{ ipa: slot.ipa + first - slot.hva, bytes: end - first, slot }] : [];
  });
}
