/** What user space and the host do to whole slots of a VM: dirty logging on, pages taken away. */
import type { Op } from '#port';
import { writeProtectSlotLocked } from './dirty-log.ts';
import { discardRange } from './host/discard.ts';
import type { HvaRange } from './host/mmu-notifier.ts';
import { regionOf, setMemoryRegionLocked } from './memslot-update.ts';
import { SlotFlag, USER_FLAGS, type Memslot } from './memslots.ts';
import type { Vm } from './vm.ts';

/**
 * Turns dirty logging on, and write-protects all pages; those of a slot that logs already, too. Whether it has just begun to log.
 */
export function* enableDirtyLog(vm: Vm, { id }: Pick<Memslot, 'id'>): Op<boolean> {
  const { memslots } = vm.parts;
  yield* memslots.slotsLock.lock();
  const slot = yield* memslots.byIdLocked(id);
  if (slot === undefined) throw new Error(`dirty log of slot ${id}, which is gone`);
  const begins = !slot.hasBitmap;
  if (begins) yield* toggleLogLocked(vm, slot);
  // A log that begins with all bits set protects nothing by itself.
  if (!begins || vm.parts.dirtyLogMode === 'clearAllSet') yield* writeProtectSlotLocked(vm, slot);
  yield* memslots.slotsLock.unlock();
  return begins;
}

/**
 * Turns dirty logging of a slot on or off, and changes nothing else. False if that is what it was already, or the slot is gone.
 */
export function* setDirtyLog(vm: Vm, id: number, isOn: boolean): Op<boolean> {
  const { memslots } = vm.parts;
  yield* memslots.slotsLock.lock();
  const slot = yield* memslots.byIdLocked(id);
  const isDue = slot !== undefined && slot.hasBitmap !== isOn;
  if (isDue) yield* toggleLogLocked(vm, slot);
  yield* memslots.slotsLock.unlock();
  return isDue;
}

/** `slots_lock` is held. What fails on purpose is tried again. */
function* toggleLogLocked(vm: Vm, slot: Memslot): Op<void> {
  const { prepare } = vm.parts;
  const flags = (slot.flags & USER_FLAGS) ^ SlotFlag.logDirty;
  for (;;) {
    const { struck } = prepare;
    const outcome = yield* setMemoryRegionLocked(vm, { ...regionOf(slot), flags });
    if (outcome === 'ok') return;
    if (prepare.struck === struck) throw new Error(`dirty log of slot ${slot.id}: ${outcome}`);
  }
}

/** The host takes a slot's pages back (MADV_DONTNEED), between a start and an end that it tells the VM's notifier. */
export function* discardSlot(vm: Vm, slot: HvaRange): Op<void> {
  const discarded = yield* discardRange(vm.parts.host.mm, slot);
  if (discarded !== 'done') throw new Error(`discarding a slot: ${discarded}`);
}
