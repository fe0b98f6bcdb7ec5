/** A fault on guest memory as 6.12 handles it (specification section 5E). */
import type { Op } from '#port';
import type { Outcome } from '../../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { AbortVm } from '../abort-vm.ts';
import { UserMemAbort518 } from './user-mem-abort-518.ts';
import {
  faultIn,
  markDirty,
  type Found,
  type MemoryFaultResult,
  type Request,
} from '../user-mem-abort.ts';

export class UserMemAbort612 extends UserMemAbort518 {
  /**
   * Step 13 comes after the lock. A harvest between the two takes the bit before it is set, and W with it: the guest, which is still in this
   * handler, writes after the bit is set, or faults once more.
   */
  override *install(vm: AbortVm, request: Request, found: Found): Op<MemoryFaultResult> {
    const result = yield* super.install(vm, request, found);
    if (result === 'ok') yield* markDirty(vm, request, found);
    return result;
  }

  override *mapLocked(
    vm: AbortVm,
    pgt: Stage2Pgtable,
    request: Request,
    found: Found,
  ): Op<Outcome> {
    return yield* faultIn(vm, pgt, request, found);
  }
}
