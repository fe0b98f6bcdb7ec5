/**
 * Changing a VM's slots (specification section 5K, profile `5.10`): create, delete, move, turn logging on and off. A request that is refused
 * leaves the slots as they were.
 */
import type { Op } from '#port';
import type { Gfn, Hva } from '../machine/address.ts';
import { writeProtectSlotLocked } from './dirty-log.ts';
import { Memslot, SlotFlag, USER_FLAGS, type SlotFields } from './memslots.ts';
import { applyRange } from './range.ts';
import { assertUnmapped } from './slot-check.ts';
import type { Vm } from './vm.ts';

/** What user space asks for (the kernel's `kvm_userspace_memory_region`). */
export interface MemoryRegion {
  readonly id: number;
  /** First guest physical byte, and user address of the first byte: whole pages. */
  readonly ipa: number;
  readonly hva: number;
  /** Whole pages; 0 deletes the slot. */
  readonly bytes: number;
  /** {@link SlotFlag} bits `logDirty` and `readonly`. */
  readonly flags: number;
}

/**
 * How it ended. `invalid` (-EINVAL): not whole pages, an unknown id or flag, a slot to delete that is not there, a change of size, user
 * address or READONLY, logging of device memory; `exists` (-EEXIST): it overlaps another slot; `fault` (-EFAULT): it reaches the end
 * of the IPA space, or, in `legacy`, device memory is mapped there already; `noMemory` (-ENOMEM): no room for its bitmap, or no
 * table page for device memory.
 */
export type SlotOutcome = 'ok' | 'invalid' | 'exists' | 'fault' | 'noMemory';

/** Pages of a slot at most. */
const PAGES_MAX = 2 ** 31 - 1;

/** Applies a request. Takes `slots_lock`; waits for read sections. */
export function* setMemoryRegion(vm: Vm, region: MemoryRegion): Op<SlotOutcome> {
  const { slotsLock } = vm.parts.memslots;
  yield* slotsLock.lock();
  const outcome = yield* setMemoryRegionLocked(vm, region);
  yield* slotsLock.unlock();
  return outcome;
}

/** The same for the holder of `slots_lock`. */
export function* setMemoryRegionLocked(vm: Vm, region: MemoryRegion): Op<SlotOutcome> {
  if (!isWellFormed(vm, region)) return 'invalid';
  const slots = yield* vm.parts.memslots.allLocked();
  const old = slots.find(({ id }) => id === region.id);
  if (region.bytes === 0) return old === undefined ? 'invalid' : yield* deleteSlot(vm, slots, old);
  const slot = slotOf(vm, region);
  if (old === undefined) return yield* createSlot(vm, slots, slot);
  if (old.pages !== slot.pages || old.hva !== slot.hva || old.isReadonly !== slot.isReadonly)
    return 'invalid';
  if (old.baseGfn !== slot.baseGfn) return yield* moveSlot(vm, slots, old, slot);
  if (old.flags === slot.flags) return 'ok';
  return yield* changeFlags(vm, slots, old, slot);
}

/** The request that would make a slot as it is. */
export function regionOf({ id, ipa, hva, bytes, flags }: Memslot): MemoryRegion {
  return { id, ipa, hva, bytes, flags: flags & USER_FLAGS };
}

function* createSlot(vm: Vm, slots: readonly Memslot[], slot: Memslot): Op<SlotOutcome> {
  if (slots.some((other) => overlap(other, slot))) return 'exists';
  const refusal = refusalOf(vm, null, slot);
  if (refusal !== null) return refusal;
  const outcome = yield* vm.parts.preparation.create(vm, slot);
  if (outcome !== 'ok') return outcome;
  yield* prepareBitmap(vm, null, slot);
  yield* publishAndCommit(vm, slots, slot);
  return 'ok';
}

function* deleteSlot(vm: Vm, slots: readonly Memslot[], old: Memslot): Op<SlotOutcome> {
  yield* retire(vm, slots, old);
  yield* vm.parts.memslots.publish(without(slots, old));
  return 'ok';
}

function* moveSlot(
  vm: Vm,
  slots: readonly Memslot[],
  old: Memslot,
  slot: Memslot,
): Op<SlotOutcome> {
  const others = without(slots, old);
  if (others.some((other) => overlap(other, slot))) return 'exists';
  const refusal = refusalOf(vm, old, slot);
  if (refusal !== null) return refusal;
  yield* retire(vm, slots, old);
  const outcome = yield* vm.parts.preparation.create(vm, slot);
  // Refused: the old slot is back, and its pages fault back.
  if (outcome !== 'ok') {
    yield* vm.parts.memslots.publish(slots);
    return outcome;
  }
  yield* prepareBitmap(vm, old, slot);
  yield* publishAndCommit(vm, others, slot);
  return 'ok';
}

/** Turns logging on or off. Off, stage 2 stays as it is: write faults collapse its pages to blocks again. */
function* changeFlags(
  vm: Vm,
  slots: readonly Memslot[],
  old: Memslot,
  slot: Memslot,
): Op<SlotOutcome> {
  const refusal = refusalOf(vm, old, slot);
  if (refusal !== null) return refusal;
  const outcome = yield* vm.parts.preparation.revise(vm, slot);
  if (outcome !== 'ok') return outcome;
  yield* prepareBitmap(vm, old, slot);
  const others = without(slots, old);
  yield* publishAndCommit(vm, others, slot);
  if (![...others, slot].some(({ hasBitmap }) => hasBitmap)) yield* vm.parts.splitter.freeCache();
  return 'ok';
}

/**
 * Before a slot goes: nobody finds it any more, whoever found it has done what he does, and then its range is empty. Until the next
 * publication accesses to it end like those outside every slot.
 */
function* retire(vm: Vm, slots: readonly Memslot[], old: Memslot): Op<void> {
  const retired: SlotFields = { ...fieldsOf(old), flags: old.flags | SlotFlag.invalid };
  yield* vm.parts.memslots.publish([...without(slots, old), retired]);
  yield* applyRange(vm, old, 'unmap');
  yield* assertUnmapped(vm, old);
}

/**
 * Publishes a slot that is there from now on, or logs from now on. Faults of before have ended when `publish` returns, so every leaf that was
 * made without regard to the log stands, and is write-protected.
 */
function* publishAndCommit(vm: Vm, others: readonly Memslot[], slot: Memslot): Op<void> {
  yield* vm.parts.memslots.publish([...others, slot]);
  if (slot.hasBitmap && vm.parts.dirtyLogMode !== 'clearAllSet')
    yield* writeProtectSlotLocked(vm, slot);
}

/** A bitmap that comes into use is clean, or in mode `clearAllSet` full; one that is in use goes on. */
function* prepareBitmap(vm: Vm, old: Memslot | null, slot: Memslot): Op<void> {
  if (!slot.hasBitmap || old?.hasBitmap === true) return;
  yield* slot.bitmap.reset(vm.parts.dirtyLogMode === 'clearAllSet');
}

/** What speaks against a slot that overlaps no other. */
function refusalOf(vm: Vm, old: Memslot | null, slot: Memslot): SlotOutcome | null {
  const room = vm.parts.memslots.layout.bitmaps[slot.id]?.pages ?? 0;
  if (slot.hasBitmap && old?.hasBitmap !== true && slot.pages > room) return 'noMemory';
  return vm.parts.preparation.isBeyond(vm, slot) ? 'fault' : null;
}

function isWellFormed(vm: Vm, { id, ipa, hva, bytes, flags }: MemoryRegion): boolean {
  const { geometry, memslots } = vm.parts;
  const addresses = [ipa, hva, bytes];
  return (
    memslots.hasId(id) &&
    (flags & ~USER_FLAGS) === 0 &&
    addresses.every((address) => address >= 0 && address % geometry.pageBytes === 0) &&
    Number.isSafeInteger(ipa + bytes) &&
    bytes / geometry.pageBytes <= PAGES_MAX
  );
}

function slotOf({ parts }: Vm, { id, ipa, hva, bytes, flags }: MemoryRegion): Memslot {
  const { pageBytes } = parts.geometry;
  return new Memslot(
    {
      id,
      baseGfn: (ipa / pageBytes) as Gfn,
      pages: bytes / pageBytes,
      hva: hva as Hva,
      flags,
    },
    parts.memslots.layout,
  );
}

function fieldsOf({ id, baseGfn, pages, hva, flags }: Memslot): SlotFields {
  return { id, baseGfn, pages, hva, flags };
}

function without(slots: readonly Memslot[], slot: Memslot): Memslot[] {
  return slots.filter(({ id }) => id !== slot.id);
}

function overlap(a: Memslot, b: Memslot): boolean {
  return a.baseGfn < b.baseGfn + b.pages && b.baseGfn < a.baseGfn + a.pages;
}
