/** What user space and the host do to whole slots of a VM: dirty logging on, pages taken away. */
import type { Op } from '#port';
import { writeProtectSlotLocked } from './dirty-log.ts';
import { discardRange } from './host/discard.ts';
import { regionOf, setMemoryRegionLocked } from './memslot-update.ts';
import { SlotFlag, USER_FLAGS, type Memslot } from './memslots.ts';
import type { Vm } from './vm.ts';

/** Turns dirty logging on; of a slot that logs already, all pages are write-protected again. */
export function* enableDirtyLog(vm: Vm, { id }: Memslot): Op<void> {
  const { memslots } = vm.parts;
  yield* memslots.slotsLock.lock();
  const slot = (yield* memslots.allLocked()).find((candidate) => candidate.id === id);
  if (slot === undefined) throw new Error(`dirty log of slot ${id}, which is gone`);
  if (slot.hasBitmap) yield* writeProtectSlotLocked(vm, slot);
  else {
    const flags = (slot.flags & USER_FLAGS) | SlotFlag.logDirty;
    const outcome = yield* setMemoryRegionLocked(vm, { ...regionOf(slot), flags });
    if (outcome !== 'ok') throw new Error(`dirty log of slot ${id}: ${outcome}`);
  }
  yield* memslots.slotsLock.unlock();
}

/** The host takes a slot's pages back (MADV_DONTNEED), between a start and an end that it tells the VM's notifier. */
export function* discardSlot(vm: Vm, slot: Memslot): Op<void> {
  const discarded = yield* discardRange(vm.parts.host.mm, slot);
  if (discarded !== 'done') throw new Error(`discarding a slot: ${discarded}`);
}
