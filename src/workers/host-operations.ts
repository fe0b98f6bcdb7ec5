/** What user space and the host do to whole slots of a VM: dirty logging on, pages taken away. */
import type { Op } from '#port';
import { writeProtectSlotLocked } from '../kvm/dirty-log.ts';
import { discardRange } from '../kvm/host/discard.ts';
import type { HvaRange } from '../kvm/host/mmu-notifier.ts';
import { regionOf } from '../kvm/memslot-update.ts';
import { SlotFlag, USER_FLAGS, type Memslot } from '../kvm/memslots.ts';
import type { Vm } from '../kvm/vm.ts';
import { requestRegionLocked, type SlotUser } from './slot-request.ts';

/**
 * Turns dirty logging on, and write-protects all pages; those of a slot that logs already, too. Whether it has just begun to log.
 */
export function* enableDirtyLog(user: SlotUser, { id }: Pick<Memslot, 'id'>): Op<boolean> {
  const { vm } = user;
  const { memslots, dirtyLogMode } = vm.parts;
  yield* memslots.slotsLock.lock();
  const slot = yield* memslots.byIdLocked(id);
  if (slot === undefined) throw new Error(`dirty log of slot ${id}, which is gone`);
  const begins = !slot.hasBitmap;
  if (begins) yield* toggleLogLocked(user, slot);
  // A log that begins with all bits set protects nothing by itself.
  if (!begins || dirtyLogMode === 'clearAllSet') yield* writeProtectSlotLocked(vm, slot);
  yield* memslots.slotsLock.unlock();
  return begins;
}

/**
 * Turns dirty logging of a slot on or off, and changes nothing else. False if that is what it was already, or the slot is gone.
 */
export function* setDirtyLog(user: SlotUser, id: number, isOn: boolean): Op<boolean> {
  const { memslots } = user.vm.parts;
  yield* memslots.slotsLock.lock();
  const slot = yield* memslots.byIdLocked(id);
  const isDue = slot !== undefined && slot.hasBitmap !== isOn;
  if (isDue) yield* toggleLogLocked(user, slot);
  yield* memslots.slotsLock.unlock();
  return isDue;
}

/** `slots_lock` is held. */
function* toggleLogLocked(user: SlotUser, slot: Memslot): Op<void> {
  const flags = (slot.flags & USER_FLAGS) ^ SlotFlag.logDirty;
  const outcome = yield* requestRegionLocked(user, { ...regionOf(slot), flags });
  if (outcome !== 'ok') throw new Error(`dirty log of slot ${slot.id}: ${outcome}`);
}

/** The host takes a slot's pages back (MADV_DONTNEED), between a start and an end that it tells the VM's notifier. */
export function* discardSlot(vm: Vm, slot: HvaRange): Op<void> {
  const discarded = yield* discardRange(vm.parts.host.mm, slot);
  if (discarded !== 'done') throw new Error(`discarding a slot: ${discarded}`);
}
