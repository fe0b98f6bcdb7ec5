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

export class KvmNotifier implements MmuNotifier {
  readonly #vm: Vm;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** Opens the invalidation before anything is unmapped: a fault that comes in between finds the count. */
  *invalidateRangeStart(range: HvaRange, mayBlock: boolean): Op<void> {
    const slots = yield* this.#enter();
    yield* this.#vm.parts.notifier.startLocked();
    for (const ipas of intersections(slots, range)) {
      yield* applyRangeLocked(this.#vm, ipas, 'unmap', mayBlock ? 'yielding' : 'holding');
    }
    yield* this.#leave();
  }

  *invalidateRangeEnd(_range: HvaRange): Op<void> {
    yield* this.#enter();
    yield* this.#vm.parts.notifier.endLocked();
    yield* this.#leave();
  }

  /**
   * Maps the new page read-only where a table for it exists. Not in a slot that is about to go, where we deviate: its range may be unmapped
   * already, and nobody would unmap it again.
   */
  *changePte(hva: Hva, frame: Phys): Op<void> {
    const { notifier, mmu, stage2, geometry } = this.#vm.parts;
    const slots = yield* this.#enter();
    yield* notifier.changeLocked();
    const pgt = yield* this.#vm.pgt();
    if (pgt !== null) {
      const page = { hva, bytes: geometry.pageBytes };
      if (!pgt.attributes.fwb) yield* mmu.dcacheCleanInvalidate(frame, geometry.pageBytes);
      const live = slots.filter((slot) => !slot.isInvalid);
      for (const { ipa } of intersections(live, page)) yield* stage2.changePte(pgt, ipa, frame);
    }
    yield* this.#leave();
  }

  /** The flush comes before anything is told: the next access to the range sets an access flag again. */
  *clearFlushYoung(range: HvaRange): Op<boolean> {
    const slots = yield* this.#enter();
    const isYoung = yield* this.#mkoldLocked(slots, range);
    if (isYoung) yield* this.#vm.parts.mmu.tlbFlushVmid();
    yield* this.#leave();
    return isYoung;
  }

  *clearYoung(range: HvaRange): Op<boolean> {
    const slots = yield* this.#enter();
    const isYoung = yield* this.#mkoldLocked(slots, range);
    yield* this.#leave();
    return isYoung;
  }

  *testYoung(hva: Hva): Op<boolean> {
    const { stage2, geometry } = this.#vm.parts;
    const slots = yield* this.#enter();
    const pgt = yield* this.#vm.pgt();
    let isYoung = false;
    for (const { ipa } of intersections(slots, { hva, bytes: geometry.pageBytes })) {
      if (pgt !== null && (yield* stage2.isYoung(pgt, ipa))) isYoung = true;
    }
    yield* this.#leave();
    return isYoung;
  }

  /** Teardown. Notifications that come later, or run now, find no table. */
  *release(): Op<void> {
    const { memslots } = this.#vm.parts;
    yield* memslots.readLock();
    yield* this.#vm.freeStage2();
    yield* memslots.readUnlock();
  }

  *#enter(): Op<readonly Memslot[]> {
    const { memslots, mmuLock } = this.#vm.parts;
    yield* memslots.readLock();
    const slots = yield* memslots.all();
    yield* mmuLock.lock();
    return slots;
  }

  *#leave(): Op<void> {
    const { memslots, mmuLock } = this.#vm.parts;
    yield* mmuLock.unlock();
    yield* memslots.readUnlock();
  }

  /** Ages the first leaf of each intersection: a range is one entry of the host's table, and no leaf here is smaller. */
  *#mkoldLocked(slots: readonly Memslot[], range: HvaRange): Op<boolean> {
    const pgt: Stage2Pgtable | null = yield* this.#vm.pgt();
    if (pgt === null) return false;
    let isYoung = false;
    for (const { ipa } of intersections(slots, range)) {
      if (yield* this.#vm.parts.stage2.mkold(pgt, ipa)) isYoung = true;
    }
    return isYoung;
  }
}

/** The guest memory behind a range of user addresses, slot by slot: one page may be in several. */
function intersections(slots: readonly Memslot[], range: HvaRange): IpaRange[] {
  return slots.flatMap((slot) => {
    const first = Math.max(slot.hva, range.hva);
    const end = Math.min(slot.hva + slot.bytes, range.hva + range.bytes);
    return first < end ? [{ ipa: slot.ipa + first - slot.hva, bytes: end - first }] : [];
  });
}
