/**
 * The first handler of a stage-2 abort: triage (specification section 5C, profile `5.10`). Numbers in comments are steps of that
 * section.
 */
import { count, event, type Op } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Gfn, Ipa } from '../machine/address.ts';
import { LAST_LEVEL } from '../machine/geometry.ts';
import { FSC } from '../machine/syndrome.ts';
import type { AbortSlot, AbortVm } from './abort-vm.ts';
import { isExternalAbort, isTableFault } from './fault-kind.ts';
import { ioMemAbort } from './mmio.ts';
import type { AbortResult, Injection, Vcpu } from './vcpu.ts';

/** `retry`: the fault met a notifier. */
type Triaged = AbortResult | 'retry';

/** Handles the abort in `vcpu.fault`. */
export function* handleGuestAbort(vm: AbortVm, vcpu: Vcpu): Op<AbortResult> {
  const { fault } = vcpu;
  event(EventKind.faultBegin, 0, fault.esr, Math.floor(fault.hpfar));
  const result = yield* triage(vm, vcpu);
  if (result === 'retry') {
    count(vcpu.retried, 1);
    // Outside of the read section, which a change of slots waits for.
    yield* vm.parts.notifier.awaitEnd();
  }
  yield* vm.parts.mmu.awaitMade();
  event(EventKind.faultEnd, 0, fault.esr, 0);
  return result === 'retry' ? 'resume' : result;
}

function* triage(vm: AbortVm, vcpu: Vcpu): Op<Triaged> {
  const { fault } = vcpu;
  const { faults, memslots, policy } = vm.parts;
  // 0
  const outside = faults.outside(vm, fault);
  if (outside !== null) {
    vcpu.injected = outside;
    return 'resume';
  }
  // 1
  if (isExternalAbort(fault)) {
    return policy.claimsExternalAbort(fault) ? 'resume' : inject(vcpu, 'systemError');
  }
  // 2
  if (!isTableFault(fault)) return 'fault';
  // 3, 8
  yield* memslots.readLock();
  const result = yield* abortInSlots(vm, vcpu);
  yield* memslots.readUnlock();
  return result;
}

/** Inside a read section of the slots. */
function* abortInSlots(vm: AbortVm, vcpu: Vcpu): Op<Triaged> {
  const { geometry, memslots, faults } = vm.parts;
  const ipa = vcpu.fault.faultIpa();
  const gfn = geometry.blockNumber(ipa, LAST_LEVEL) as Gfn;
  const found = yield* memslots.lookup(gfn);
  const slot = found?.isInvalid === true ? undefined : found;
  // 4
  if (slot === undefined || (slot.isReadonly && faults.accessOf(vcpu.fault) === 'write'))
    return yield* unbacked(vm, vcpu, slot);
  // 5
  if (!vm.isInIpaSpace(ipa)) throw new Error(`a slot beyond the IPA space: ${ipa.toString(16)}`);
  // 6
  if (vcpu.fault.type === FSC.access) return yield* accessFault(vm, ipa);
  // 7
  const result = yield* faults.handle(vm, vcpu, { ipa, slot, hva: slot.hvaOf(gfn) });
  if (result === 'notExecutable') return inject(vcpu, 'prefetchAbort');
  return result === 'ok' || result === 'again' ? 'resume' : result;
}

/** Step 4: no slot, or a write to one that is read-only. */
function* unbacked(vm: AbortVm, vcpu: Vcpu, slot: AbortSlot | undefined): Op<AbortResult> {
  const { fault } = vcpu;
  if (fault.isInstructionAbort()) return inject(vcpu, 'prefetchAbort');
  if (fault.isStage1Walk()) return inject(vcpu, 'dataAbort');
  // A cache operation on nothing has nothing to do.
  if (slot === undefined && fault.isCacheMaintenance()) {
    vcpu.pcAdvance += fault.instructionBytes;
    return 'resume';
  }
  return yield* ioMemAbort(vm.parts.policy, vcpu, fault.exactIpa());
}

/** Section 5F: the entry may be gone by now, then the guest faults again. */
function* accessFault(vm: AbortVm, ipa: Ipa): Op<AbortResult> {
  const { geometry, host, mmuLock, stage2 } = vm.parts;
  yield* mmuLock.lockFor(stage2.youngSide);
  const pgt = yield* vm.pgt();
  const old = pgt === null ? null : yield* stage2.mkyoung(pgt, ipa);
  yield* mmuLock.unlock();
  if (old === null || !old.isValid()) return 'resume';
  // By now the frame may be another's: at worst that one looks young.
  yield* host.markAccessed(old.address(geometry));
  return 'resume';
}

function inject(vcpu: Vcpu, exception: Injection['exception']): AbortResult {
  vcpu.injected = { exception, far: exception === 'systemError' ? null : vcpu.fault.far };
  return 'resume';
}
