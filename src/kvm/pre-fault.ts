/**
 * Mapping guest memory before the guest touches it (KVM_PRE_FAULT_MEMORY, from 6.11; for arm64 it is only proposed): the thread of a vCPU takes
 * the faults that reads would be, with the vCPU's memcache, while the vCPU does not run.
 */
import type { Op } from '#port';
import type { Gfn, Ipa } from '../machine/address.ts';
import { LAST_LEVEL } from '../machine/geometry.ts';
import { FSC, FaultRecord } from '../machine/syndrome.ts';
import { getLeaf, type Leaf } from '../pgtable/get-leaf.ts';
import type { IpaRange } from './range.ts';
import { SENT_BACK_MAX, type Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/**
 * `invalid` (-EINVAL): not whole pages, or none; `noEntry` (-ENOENT): no slot; `fault`: nothing behind the page, broken memory, or user space has
 * to bring it (`Vcpu.exit`); `noMemory`; `again` (-EAGAIN): faults of one page were sent back {@link SENT_BACK_MAX} times.
 */
export type PreFaultError = 'invalid' | 'noEntry' | 'fault' | 'noMemory' | 'again';

export interface PreFaulted {
  /** Bytes that are not mapped: the last ones of the range. */
  readonly left: number;
  /** Why, if nothing was mapped at all; otherwise the next call says it. */
  readonly error: PreFaultError | null;
}

/** Maps a range from its beginning on, as far as that goes. */
export function* preFaultMemory(vm: Vm, vcpu: Vcpu, { ipa, bytes }: IpaRange): Op<PreFaulted> {
  const { pageBytes } = vm.parts.geometry;
  if (bytes === 0 || ipa % pageBytes !== 0 || bytes % pageBytes !== 0)
    return { left: bytes, error: 'invalid' };
  const end = ipa + bytes;
  for (let next = ipa, faults = 0; next < end;) {
    const step = faults === SENT_BACK_MAX ? 'again' : yield* stepAt(vm, vcpu, next as Ipa);
    if (typeof step !== 'number') return { left: end - next, error: next === ipa ? step : null };
    faults = step === next ? faults + 1 : 0;
    next = step;
  }
  return { left: 0, error: null };
}

/** Where to go on: behind the leaf of `ipa`; at `ipa` again after a fault, that the table may have another entry by now. */
function* stepAt(vm: Vm, vcpu: Vcpu, ipa: Ipa): Op<number | PreFaultError> {
  const { geometry, memslots, notifier } = vm.parts;
  const leaf = yield* leafAt(vm, ipa);
  if (leaf === null) return 'fault';
  if (leaf.entry.isValid())
    return geometry.alignDown(ipa, leaf.level) + geometry.sizeOf(leaf.level);
  vcpu.fault = FaultRecord.ofAccess(FSC.translation, leaf.level, ipa, 'read');
  yield* memslots.readLock();
  const result = yield* faultAt(vm, vcpu, ipa);
  yield* memslots.readUnlock();
  // Outside of the read section, which a change of slots waits for.
  yield* vm.parts.mmu.awaitMade();
  if (result === 'retry') yield* notifier.awaitEnd();
  return result === 'done' || result === 'retry' ? ipa : result;
}

/** Inside a read section of the slots. */
function* faultAt(vm: Vm, vcpu: Vcpu, ipa: Ipa): Op<'done' | 'retry' | PreFaultError> {
  const gfn = vm.parts.geometry.blockNumber(ipa, LAST_LEVEL) as Gfn;
  const slot = yield* vm.parts.memslots.lookup(gfn);
  if (slot === undefined || slot.isInvalid) return 'noEntry';
  const result = yield* vm.parts.faults.handle(vm, vcpu, { ipa, slot, hva: slot.hvaOf(gfn) });
  if (result === 'retry' || result === 'noMemory') return result;
  const isMapped = result === 'ok' || result === 'again';
  return isMapped && vcpu.signal === null ? 'done' : 'fault';
}

/** Null once the table is gone. */
function* leafAt(vm: Vm, ipa: Ipa): Op<Leaf | null> {
  const { mmuLock } = vm.parts;
  yield* mmuLock.lock();
  const pgt = yield* vm.pgt();
  const leaf = pgt === null || !vm.isInIpaSpace(ipa) ? null : yield* getLeaf(pgt, ipa);
  yield* mmuLock.unlock();
  return typeof leaf === 'string' ? null : leaf;
}
