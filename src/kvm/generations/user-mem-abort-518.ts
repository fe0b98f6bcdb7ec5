/** A fault on guest memory as 5.18 to 6.1 handle it (specification section 5E, "Differences in [6.1]"). */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { FSC, type FaultRecord } from '../../machine/syndrome.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { AbortVm } from '../abort-vm.ts';
import type { Pinned } from '../host/pinned.ts';
import type { MappingSize } from '../mapping-size.ts';
import type { Injection } from '../vcpu.ts';
import {
  UserMemAbort,
  faultIn,
  markDirty,
  planOf,
  topUp,
  type Extent,
  type Found,
  type Plan,
  type Request,
} from '../user-mem-abort.ts';

export class UserMemAbort518 extends UserMemAbort {
  /** Beyond what the machine has, and beyond what the VM has: there FAR is the address that does not exist. */
  override outside(vm: AbortVm, record: FaultRecord): Injection | null {
    if (record.type !== FSC.translation) return null;
    const ipa = record.faultIpa();
    if (ipa >= 2 ** vm.parts.features.paBits)
      return { exception: 'addressSizeFault', far: record.far };
    if (vm.isInIpaSpace(ipa)) return null;
    return { exception: record.isInstructionAbort() ? 'prefetchAbort' : 'dataAbort', far: ipa };
  }

  /** The top-up comes first, and counts with a page: what is mapped is not known yet. */
  override *prepare(vm: AbortVm, request: Request): Op<Plan | 'fault' | 'noMemory'> {
    if (!(yield* topUp(vm, request, vm.parts.geometry.pageBytes))) return 'noMemory';
    return (yield* planOf(vm, request)) ?? 'fault';
  }

  /** Step 12: a permission missing in a block is added to that block, whatever the host has behind it now. */
  override extentOf(vm: AbortVm, request: Request, mapping: MappingSize, pinned: Pinned): Extent {
    const { geometry } = vm.parts;
    const { isPermission, leafSize } = request;
    const isPage = mapping.level === LAST_LEVEL && !mapping.forcePte && pinned.status !== 'device';
    if (!isPage || !isPermission || leafSize === geometry.pageBytes)
      return super.extentOf(vm, request, mapping, pinned);
    return { size: leafSize, frame: (pinned.frame - (pinned.frame % leafSize)) as Phys };
  }

  /** Steps 13 to 15: only what was mapped is dirty. */
  override *mapLocked(
    vm: AbortVm,
    pgt: Stage2Pgtable,
    request: Request,
    found: Found,
  ): Op<Outcome> {
    const outcome = yield* faultIn(vm, pgt, request, found);
    if (outcome === 'ok') yield* markDirty(vm, request, found);
    return outcome;
  }
}
