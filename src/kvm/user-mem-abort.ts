/**
 * A fault on guest memory: find the host page, map it or relax its permissions (specification section 5E, profile `5.10`). Numbers
 * in comments are steps of that section.
 */
import type { Op } from '#port';
import type { Gfn, Hva, Ipa, Phys } from '../machine/address.ts';
import type { AccessKind } from '../machine/cpu.ts';
import { LAST_LEVEL } from '../machine/geometry.ts';
import { FSC } from '../machine/syndrome.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { AbortSlot, AbortVm } from './abort-vm.ts';
import { accessOf } from './fault-kind.ts';
import type { Pinned } from './host/pinned.ts';
import {
  TRANSPARENT_HUGE_LEVEL,
  fitsBlock,
  mappingSize,
  type MappingSize,
} from './mapping-size.ts';
import type { Vcpu } from './vcpu.ts';

/** What is known of a fault once its slot is found. */
export interface MemoryFault {
  /** Down to 4 KiB, whatever the granule. */
  readonly ipa: Ipa;
  readonly slot: AbortSlot;
  readonly hva: Hva;
}

/** `retry`: a notifier came between, the guest faults again. `notExecutable`: device memory was executed (-ENOEXEC). */
export type MemoryFaultResult = Outcome | 'retry' | 'notExecutable';

/** A fault and what it asks of the host. */
interface Request extends MemoryFault {
  readonly access: AccessKind;
  readonly isPermission: boolean;
  readonly logging: boolean;
  /** Bytes of the leaf that was found, or of the entry where the walk stopped. */
  readonly leafSize: number;
}

/** What may be mapped, from what the host's areas were at `sequence`. */
interface Plan {
  readonly mapping: MappingSize;
  readonly sequence: number;
}

/** What was found to map. */
interface Found {
  readonly mapping: MappingSize;
  readonly pinned: Pinned;
  /** The guest frame whose page was pinned. */
  readonly gfn: Gfn;
}

/**
 * Handles a translation or permission fault inside a slot. Errors: `fault` when nothing backs the address, or the table was torn down
 * while the vCPU ran; `noMemory`; what the table code says. A poisoned page is `ok`: user space has its signal.
 */
export function* userMemAbort(vm: AbortVm, vcpu: Vcpu, fault: MemoryFault): Op<MemoryFaultResult> {
  // 1
  const request = requestOf(vm, vcpu, fault);
  if (request.isPermission && request.access === 'read') return 'fault';
  // 2 to 5, 7
  const plan = yield* planOf(vm, request);
  if (plan === null) return 'fault';
  // 6
  if (!(yield* topUp(vm, vcpu, request, plan.mapping))) return 'noMemory';
  // 8
  const { mapping, sequence } = plan;
  const { geometry, host } = vm.parts;
  const first = geometry.alignDown(fault.ipa, mapping.level);
  const gfn = geometry.blockNumber(first, LAST_LEVEL) as Gfn;
  const pinned = yield* host.pin(fault.slot.hvaOf(gfn), request.access === 'write');
  if (pinned.status === 'poisoned') return poisoned(vm, vcpu, fault, mapping);
  if (pinned.status === 'noMemory' || pinned.status === 'fault') return 'fault';
  if (pinned.status === 'userfault') return memoryFault(vm, vcpu, gfn);
  // 10
  if (pinned.status === 'device' && request.access === 'exec') return 'notExecutable';
  const result = yield* install(vm, vcpu, request, { mapping, pinned, gfn }, sequence);
  // 16
  yield* host.markAccessed(pinned.frame);
  yield* host.unpin(pinned.frame);
  return result;
}

function requestOf(vm: AbortVm, vcpu: Vcpu, fault: MemoryFault): Request {
  return {
    ...fault,
    access: accessOf(vcpu.fault),
    isPermission: vcpu.fault.type === FSC.permission,
    logging: fault.slot.isLogging(),
    leafSize: vm.parts.geometry.sizeOf(vcpu.fault.level),
  };
}

/**
 * Steps 2 to 5, and 7: the sequence is read before the mmap lock is released. The schedule that this prevents (it was read later until
 * 6.3):
 *  1. vCPU 0 finds a hugetlb area and plans a block; it releases the mmap lock.
 *  2. The host unmaps the area and maps another in its place, of small pages: a notifier starts and ends.
 *  3. vCPU 0 reads the sequence, pins one small page, finds the sequence unchanged, and maps a block of which it owns one page.
 */
function* planOf(vm: AbortVm, { slot, hva, logging }: Request): Op<Plan | null> {
  const { geometry, host, notifier, stage2 } = vm.parts;
  yield* host.mmapLock.readLock();
  const vma = yield* host.vmaAt(hva);
  const sequence = yield* notifier.readSequence();
  yield* host.mmapLock.readUnlock();
  if (vma === null) return null;
  const mapping = mappingSize({ geometry, slot, hva }, vma, { logging, stage2 });
  return { mapping, sequence };
}

/** False without memory. May sleep. */
function* topUp(vm: AbortVm, vcpu: Vcpu, request: Request, mapping: MappingSize): Op<boolean> {
  const { geometry, stage2 } = vm.parts;
  const isNeeded = stage2.needsTopUp({
    isWrite: request.access === 'write',
    isPermission: request.isPermission,
    logging: request.logging,
    size: geometry.sizeOf(mapping.level),
    leafSize: request.leafSize,
  });
  return !isNeeded || (yield* vcpu.memcache.topUp(vm.memcachePagesMin));
}

/** The guest goes on and faults again; meanwhile user space has the signal. */
function poisoned(vm: AbortVm, vcpu: Vcpu, { hva }: MemoryFault, { level }: MappingSize): Outcome {
  vcpu.signal = { hva, shift: Math.log2(vm.parts.geometry.sizeOf(level)) };
  return 'ok';
}

/** User space has to bring the page: it gets -EFAULT and is told where (KVM_EXIT_MEMORY_FAULT, of kernels from 6.8). */
function memoryFault(vm: AbortVm, vcpu: Vcpu, gfn: Gfn): Outcome {
  const { pageBytes } = vm.parts.geometry;
  vcpu.exit = { reason: 'memoryFault', ipa: (gfn * pageBytes) as Ipa, bytes: pageBytes };
  return 'fault';
}

/** Step 11: only what no notifier may have taken away since `sequence` is mapped. */
function* install(
  vm: AbortVm,
  vcpu: Vcpu,
  request: Request,
  found: Found,
  sequence: number,
): Op<MemoryFaultResult> {
  const { mmuLock, notifier } = vm.parts;
  yield* mmuLock.lock();
  const mustRetry = yield* notifier.mustRetryLocked(sequence);
  const result = mustRetry ? 'retry' : yield* installLocked(vm, vcpu, request, found);
  yield* mmuLock.unlock();
  return result;
}

/** Steps 12 to 15. */
function* installLocked(vm: AbortVm, vcpu: Vcpu, request: Request, found: Found): Op<Outcome> {
  const pgt = yield* vm.pgt();
  if (pgt === null) return 'fault';
  const { ipa, access, isPermission, logging, leafSize } = request;
  const { size, frame } = adjusted(vm, request, found);
  const isDevice = found.pinned.status === 'device';
  const isWritable = mayWrite(request, found.pinned);
  if (isWritable) yield* markDirty(vm, vcpu, request, found);
  if (!isPermission && !isDevice && !pgt.attributes.fwb)
    yield* vm.parts.mmu.dcacheCleanInvalidate(frame, size);
  if (access === 'exec') yield* vm.parts.mmu.icacheInvalidate(frame, size);
  return yield* vm.parts.stage2.faultIn(pgt, {
    ipa,
    size,
    frame,
    isWrite: access === 'write',
    isExec: access === 'exec',
    isPermission,
    isWritable,
    isDevice,
    dic: vm.parts.features.dic,
    logging,
    leafSize,
    cache: vcpu.memcache,
  });
}

/**
 * Step 12: a transparent huge page is mapped as a block. The reference stays on the page that was pinned. Under `mmu_lock` and with the
 * sequence unchanged, the host cannot split it: that begins with a notifier.
 */
function adjusted(
  vm: AbortVm,
  { slot, hva }: Request,
  { mapping, pinned }: Found,
): { readonly size: number; readonly frame: Phys } {
  const { geometry } = vm.parts;
  const isAlone = mapping.level !== LAST_LEVEL || mapping.forcePte || pinned.level === LAST_LEVEL;
  if (
    isAlone ||
    pinned.status === 'device' ||
    !fitsBlock({ geometry, slot, hva }, TRANSPARENT_HUGE_LEVEL)
  )
    return { size: geometry.sizeOf(mapping.level), frame: pinned.frame };
  const frame = geometry.alignDown(pinned.frame, TRANSPARENT_HUGE_LEVEL) as Phys;
  return { size: geometry.sizeOf(TRANSPARENT_HUGE_LEVEL), frame };
}

/** Steps 8 and 9: a read may grant W, unless the slot forbids it or a write has to be seen. Writes to a device are not seen. */
function mayWrite({ slot, access, logging }: Request, { status, isWritable }: Pinned): boolean {
  if (!isWritable || slot.isReadonly) return false;
  return status === 'device' || access === 'write' || !logging;
}

/** Step 13. The slot's mark, or the entry in the vCPU's ring, is for one page: while it logs, nothing larger is mapped. */
function* markDirty(
  vm: AbortVm,
  vcpu: Vcpu,
  { slot, logging }: Request,
  { pinned, gfn }: Found,
): Op<void> {
  yield* vm.parts.host.markDirty(pinned.frame);
  if (!logging) return;
  if (vcpu.ring === null) yield* slot.markDirty(gfn);
  else yield* vcpu.ring.push({ slot: slot.id, offset: gfn - slot.baseGfn });
}
