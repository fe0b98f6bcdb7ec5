/** User space asks for a change of slots. */
import type { Op } from '#port';
import {
  setMemoryRegionLocked,
  type MemoryRegion,
  type SlotOutcome,
} from '../kvm/memslot-update.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Failures } from './failures.ts';

/** A request, made again when it failed on purpose. `slots_lock` is held. */
export function* requestRegionLocked(
  { vm, failures }: { readonly vm: Vm; readonly failures: Failures },
  region: MemoryRegion,
): Op<SlotOutcome> {
  for (;;) {
    const { struck } = failures;
    const outcome = yield* setMemoryRegionLocked(vm, region);
    if (outcome !== 'noMemory' || failures.struck === struck) return outcome;
  }
}
