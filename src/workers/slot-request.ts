/** User space asks for a change of slots. */
import type { Op } from '#port';
import {
  setMemoryRegionLocked,
  type MemoryRegion,
  type SlotOutcome,
} from '../kvm/memslot-update.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Failures } from './failures.ts';

/** User space of a VM, as one of its threads knows it. */
export interface SlotUser {
  readonly vm: Vm;
  readonly failures: Failures;
}

/** A request, made again when it failed on purpose. `slots_lock` is held. */
export function* requestRegionLocked(
  { vm, failures }: SlotUser,
  region: MemoryRegion,
): Op<SlotOutcome> {
  for (;;) {
    const { struck } = failures;
    const outcome = yield* setMemoryRegionLocked(vm, region);
    if (outcome !== 'noMemory' || failures.struck === struck) return outcome;
  }
}
