/**
 * A fault on guest memory: find the host page, map it or relax its permissions (specification section 5E, profile `5.10`). Numbers
 * in comments are steps of that section.
 *
 * Anonymous memory of base pages: the mapping size is one page, so the ladder of huge sizes (steps 2 to 5 and 12) has one rung. The
 * look-up of the area (step 2) is left out: the one area of a slot never changes while the VM exists.
 */
import { count, type Op } from '#port';
import type { Gfn, Hva, Ipa, Phys } from '../machine/address.ts';
import { FSC } from '../machine/syndrome.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import { isExecFault, isWriteFault } from './fault-kind.ts';
import type { Memslot } from './memslots.ts';
import type { AbortResult, Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** What is known of a fault once its slot is found. */
export interface MemoryFault {
  readonly ipa: Ipa;
  readonly slot: Memslot;
  readonly hva: Hva;
}

/** Handles a translation or permission fault inside a slot. */
export function* userMemAbort(vm: Vm, vcpu: Vcpu, fault: MemoryFault): Op<AbortResult> {
  const { host, notifier, mmuLock, stage2 } = vm.parts;
  const { slot } = fault;
  // 1
  const isWrite = isWriteFault(vcpu.fault);
  const isExec = isExecFault(vcpu.fault);
  const isPermission = vcpu.fault.type === FSC.permission;
  if (isPermission && !isWrite && !isExec) return 'fault';
  // 2 to 5
  const logging = yield* slot.isLogging();
  // 6
  if (stage2.needsTopUp({ isWrite, isPermission, logging })) {
    if (!(yield* vcpu.memcache.topUp(vm.memcachePagesMin))) return 'noMemory';
  }
  // 7, 8
  const sequence = yield* notifier.readSequence();
  // Pinned for writing whatever the fault asks for: the page has a frame of its own, and its mapping may be writable.
  const { status, frame } = yield* host.pin(fault.hva, true);
  if (status !== 'page') return status === 'noMemory' ? 'noMemory' : 'fault';
  // 11
  yield* mmuLock.lock();
  let outcome: Outcome = 'ok';
  const retry = yield* notifier.mustRetryLocked(sequence);
  if (!retry) outcome = yield* installLocked(vm, vcpu, fault, frame);
  // 16
  yield* mmuLock.unlock();
  yield* host.unpin(frame);
  if (retry) {
    count(vcpu.retried, 1);
    yield* notifier.awaitEnd();
  }
  return resultOf(outcome);
}

/**
 * Steps 9 and 13 to 15. Whether the slot logs is read under the lock: the flag is set before the slot is write-protected, so a fault
 * that installs after that pass sees it. (In the kernel the same follows from waiting for SRCU readers between the two.)
 */
function* installLocked(vm: Vm, vcpu: Vcpu, fault: MemoryFault, frame: Phys): Op<Outcome> {
  const pgt = yield* vm.pgt();
  if (pgt === null) return 'invalid';
  const { geometry } = pgt;
  const { ipa, slot } = fault;
  const size = geometry.pageBytes;
  const logging = yield* slot.isLogging();
  // An anonymous page is writable for a read fault too, unless a write to it must be seen.
  const isWrite = isWriteFault(vcpu.fault);
  const isWritable = isWrite || !logging;
  const isExec = isExecFault(vcpu.fault);
  const isPermission = vcpu.fault.type === FSC.permission;
  if (isWritable && logging) yield* slot.markDirty(Math.floor(ipa / size) as Gfn);
  if (!isPermission && !pgt.attributes.fwb) yield* vm.parts.mmu.dcacheCleanInvalidate(frame, size);
  if (isExec) yield* vm.parts.mmu.icacheInvalidate(frame, size);
  return yield* vm.parts.stage2.faultIn(pgt, {
    ipa,
    size,
    frame,
    isWrite,
    isExec,
    isPermission,
    isWritable,
    logging,
    leafSize: geometry.sizeOf(vcpu.fault.level),
    cache: vcpu.memcache,
  });
}

/** `invalid` here means that the table was torn down while the vCPU ran: -EFAULT. */
function resultOf(outcome: Outcome): AbortResult {
  if (outcome === 'noMemory') return 'noMemory';
  return outcome === 'ok' || outcome === 'again' ? 'resume' : 'fault';
}
