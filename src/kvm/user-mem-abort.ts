/**
 * A fault on guest memory: find the host page, map it or relax its permissions (specification section 5E, profile `5.10`). Numbers
 * in comments are steps of that section. Later generations replace steps: `user-mem-abort-518.ts`, `user-mem-abort-612.ts`.
 */
import type { Op } from '#port';
import type { Gfn, Hva, Ipa, Phys } from '../machine/address.ts';
import type { AccessKind } from '../machine/cpu.ts';
import { LAST_LEVEL } from '../machine/geometry.ts';
import { FSC, type FaultRecord } from '../machine/syndrome.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { AbortSlot, AbortVm } from './abort-vm.ts';
import { accessOf } from './fault-kind.ts';
import type { Pinned } from './host/pinned.ts';
import {
  TRANSPARENT_HUGE_LEVEL,
  fitsBlock,
  mappingSize,
  type MappingSize,
} from './mapping-size.ts';
import type { Memcache } from './memcache.ts';
import type { FaultClass } from './stage2-operations.ts';
import type { Injection, Vcpu } from './vcpu.ts';

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
export interface Request extends MemoryFault {
  readonly access: AccessKind;
  readonly isPermission: boolean;
  readonly logging: boolean;
  /** Bytes of the leaf that was found, or of the entry where the walk stopped. */
  readonly leafSize: number;
  readonly memcache: Memcache;
  readonly ring: Vcpu['ring'];
}

/** What may be mapped, from what the host's areas were at `sequence`. */
export interface Plan {
  readonly mapping: MappingSize;
  readonly sequence: number;
}

/** What is mapped: bytes, and the frame of the first. */
export interface Extent {
  readonly size: number;
  readonly frame: Phys;
}

/** What was found to map. */
export interface Found extends Extent {
  readonly sequence: number;
  readonly pinned: Pinned;
  /** The guest frame whose page was pinned. */
  readonly gfn: Gfn;
}

/** Of `legacy` and `5.10`. Without state: one for all VMs. */
export class UserMemAbort {
  /** What kind of access faulted (section 5B). */
  accessOf(fault: FaultRecord): AccessKind {
    return accessOf(fault);
  }

  /** Step 0 of section 5C: what a fault outside of the IPA space injects into the guest at once; it came with 6.1. */
  outside(_vm: AbortVm, _record: FaultRecord): Injection | null {
    return null;
  }

  /**
   * Handles a translation or permission fault inside a slot. Errors: `fault` when nothing backs the address, or the table was torn down
   * while the vCPU ran; `noMemory`; what the table code says. A poisoned page is `ok`: user space has its signal.
   */
  *handle(vm: AbortVm, vcpu: Vcpu, fault: MemoryFault): Op<MemoryFaultResult> {
    // 1
    const request = this.#requestOf(vm, vcpu, fault);
    if (request.isPermission && request.access === 'read') return 'fault';
    // 2 to 7
    const plan = yield* this.prepare(vm, request);
    if (typeof plan === 'string') return plan;
    // 8
    const { geometry, host } = vm.parts;
    const { mapping, sequence } = plan;
    const first = geometry.alignDown(fault.ipa, mapping.level);
    const gfn = geometry.blockNumber(first, LAST_LEVEL) as Gfn;
    const pinned = yield* host.pin(fault.slot.hvaOf(gfn), request.access === 'write');
    if (pinned.status === 'poisoned') return poisoned(vm, vcpu, fault, mapping);
    if (pinned.status === 'noMemory' || pinned.status === 'fault') return 'fault';
    if (pinned.status === 'userfault') return memoryFault(vm, vcpu, gfn);
    // 10
    if (pinned.status === 'device' && request.access === 'exec') return 'notExecutable';
    // 12
    const extent = this.extentOf(vm, request, mapping, pinned);
    const result = yield* this.install(vm, request, { ...extent, sequence, pinned, gfn });
    // 16
    yield* host.markAccessed(pinned.frame);
    yield* host.unpin(pinned.frame);
    return result;
  }

  #requestOf(vm: AbortVm, vcpu: Vcpu, fault: MemoryFault): Request {
    const { fault: record, memcache, ring } = vcpu;
    return {
      ...fault,
      access: this.accessOf(record),
      isPermission: record.type === FSC.permission,
      logging: fault.slot.isLogging(),
      leafSize: vm.parts.geometry.sizeOf(record.level),
      memcache,
      ring,
    };
  }

  /** Steps 2 to 7: the top-up knows what will be mapped. May sleep. */
  *prepare(vm: AbortVm, request: Request): Op<Plan | 'fault' | 'noMemory'> {
    const plan = yield* planOf(vm, request);
    if (plan === null) return 'fault';
    const size = vm.parts.geometry.sizeOf(plan.mapping.level);
    return (yield* topUp(vm, request, size)) ? plan : 'noMemory';
  }

  /**
   * Step 12: a transparent huge page is mapped as a block. The reference stays on the page that was pinned. Whether the host has
   * split it since shows in the sequence: a split begins with a notifier.
   */
  extentOf(
    { parts: { geometry } }: AbortVm,
    { slot, hva }: Request,
    mapping: MappingSize,
    pinned: Pinned,
  ): Extent {
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

  /** Step 11: only what no notifier may have taken away since `sequence` is mapped. Of the cache it takes a page for each level at most (invariant 35). */
  *install(vm: AbortVm, request: Request, found: Found): Op<MemoryFaultResult> {
    const { mmuLock, notifier, stage2 } = vm.parts;
    const { pages } = request.memcache;
    yield* mmuLock.lockFor(stage2.faultSide(classOf(request, found.size)));
    const mustRetry = yield* notifier.mustRetryLocked(found.sequence);
    const result = mustRetry ? 'retry' : yield* this.#installLocked(vm, request, found);
    yield* mmuLock.unlock();
    const taken = pages - request.memcache.pages;
    if (taken > vm.memcachePagesMin) throw new Error(`a fault took ${taken} table pages`);
    return result;
  }

  *#installLocked(vm: AbortVm, request: Request, found: Found): Op<Outcome> {
    const pgt = yield* vm.pgt();
    return pgt === null ? 'fault' : yield* this.mapLocked(vm, pgt, request, found);
  }

  /** Steps 13 to 15: marked first, whatever the table code then says. */
  *mapLocked(vm: AbortVm, pgt: Stage2Pgtable, request: Request, found: Found): Op<Outcome> {
    yield* markDirty(vm, request, found);
    return yield* faultIn(vm, pgt, request, found);
  }
}

/**
 * Steps 2 to 5, and 7: the sequence is read before the mmap lock is released. The schedule that this prevents (it was read later until
 * 6.3):
 *  1. vCPU 0 finds a hugetlb area and plans a block; it releases the mmap lock.
 *  2. The host unmaps the area and maps another in its place, of small pages: a notifier starts and ends.
 *  3. vCPU 0 reads the sequence, pins one small page, finds the sequence unchanged, and maps a block of which it owns one page.
 */
export function* planOf(vm: AbortVm, { slot, hva, logging }: Request): Op<Plan | null> {
  const { geometry, host, notifier, stage2 } = vm.parts;
  yield* host.mmapLock.readLock();
  const vma = yield* host.vmaAt(hva);
  const sequence = yield* notifier.readSequence();
  yield* host.mmapLock.readUnlock();
  if (vma === null) return null;
  const mapping = mappingSize({ geometry, slot, hva }, vma, { logging, stage2 });
  return { mapping, sequence };
}

/** Step 6, for a mapping of `size` bytes. False without memory. May sleep. */
export function* topUp(vm: AbortVm, request: Request, size: number): Op<boolean> {
  if (!vm.parts.stage2.needsTopUp(classOf(request, size))) return true;
  return yield* request.memcache.topUp(vm.memcachePagesMin);
}

function classOf({ access, isPermission, logging, leafSize }: Request, size: number): FaultClass {
  return { isWrite: access === 'write', isPermission, logging, size, leafSize };
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

/** Steps 14 and 15. */
export function* faultIn(
  vm: AbortVm,
  pgt: Stage2Pgtable,
  request: Request,
  { size, frame, pinned }: Found,
): Op<Outcome> {
  return yield* vm.parts.stage2.faultIn(pgt, {
    ...classOf(request, size),
    ipa: request.ipa,
    frame,
    isExec: request.access === 'exec',
    isWritable: mayWrite(request, pinned),
    isDevice: pinned.status === 'device',
    dic: vm.parts.features.dic,
    cache: request.memcache,
  });
}

/** Steps 8 and 9: a read may grant W, unless the slot forbids it or a write has to be seen. Writes to a device are not seen. */
function mayWrite({ slot, access, logging }: Request, { status, isWritable }: Pinned): boolean {
  if (!isWritable || slot.isReadonly) return false;
  return status === 'device' || access === 'write' || !logging;
}

/** Step 13, for a leaf with W. The slot's mark, or the entry in the vCPU's ring, is for one page: while it logs, nothing larger is mapped. */
export function* markDirty(vm: AbortVm, request: Request, { pinned, gfn }: Found): Op<void> {
  if (!mayWrite(request, pinned)) return;
  yield* vm.parts.host.markDirty(pinned.frame);
  const { logging, slot, ring } = request;
  if (!logging) return;
  if (ring === null) yield* slot.markDirty(gfn);
  else yield* ring.push({ slot: slot.id, offset: gfn - slot.baseGfn });
}
