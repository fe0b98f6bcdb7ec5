/**
 * The first handler of a stage-2 abort: triage (specification section 5C, profile `5.10`). Numbers in comments are steps of that
 * section. SRCU is absent: the slots of a VM do not change while it runs.
 */
import { event, type Op } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Gfn, Ipa } from '../machine/address.ts';
import { FSC } from '../machine/syndrome.ts';
import { isExternalAbort } from './fault-kind.ts';
import { userMemAbort } from './user-mem-abort.ts';
import type { AbortResult, Injected, Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** Handles the abort in `vcpu.fault`. */
export function* handleGuestAbort(vm: Vm, vcpu: Vcpu): Op<AbortResult> {
  const { fault } = vcpu;
  event(EventKind.faultBegin, 0, fault.esr, Math.floor(fault.hpfar));
  const result = yield* triage(vm, vcpu);
  event(EventKind.faultEnd, 0, fault.esr, 0);
  return result;
}

function* triage(vm: Vm, vcpu: Vcpu): Op<AbortResult> {
  const { fault } = vcpu;
  // 1, 2
  if (isExternalAbort(fault)) return inject(vcpu, 'systemError');
  if (fault.type !== FSC.translation && fault.type !== FSC.access && fault.type !== FSC.permission)
    return 'fault';
  // 3
  const ipa = fault.faultIpa();
  const gfn = Math.floor(ipa / vm.parts.geometry.pageBytes) as Gfn;
  const slot = vm.parts.memslots.lookup(gfn);
  // 4
  if (slot === undefined) return outsideSlots(vcpu);
  // 5
  if (!vm.isInIpaSpace(ipa)) throw new Error(`a slot beyond the IPA space: ${ipa.toString(16)}`);
  // 6
  if (fault.type === FSC.access) return yield* accessFault(vm, ipa);
  // 7
  return yield* userMemAbort(vm, vcpu, { ipa, slot, hva: slot.hvaOf(gfn) });
}

/** Step 4, for an access that no slot backs. */
function outsideSlots(vcpu: Vcpu): AbortResult {
  const { fault } = vcpu;
  if (fault.isInstructionAbort()) return inject(vcpu, 'prefetchAbort');
  if (fault.isStage1Walk()) return inject(vcpu, 'dataAbort');
  // The instruction is skipped: a cache operation on nothing.
  if (fault.isCacheMaintenance()) return 'resume';
  return fault.hasValidSyndrome() ? 'mmio' : 'noSyndrome';
}

/** Section 5F: the entry may be gone by now, then the guest faults again. */
function* accessFault(vm: Vm, ipa: Ipa): Op<AbortResult> {
  yield* vm.parts.mmuLock.lock();
  const pgt = yield* vm.pgt();
  if (pgt !== null) yield* vm.parts.stage2.mkyoung(pgt, ipa);
  yield* vm.parts.mmuLock.unlock();
  return 'resume';
}

function inject(vcpu: Vcpu, exception: Injected): AbortResult {
  vcpu.injected = exception;
  return 'resume';
}
