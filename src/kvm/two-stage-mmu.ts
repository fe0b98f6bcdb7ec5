/**
 * The MMU of a VM whose guest has its stage 1 on. A combined (VA to PA) entry knows no IPA, so IPAS2E1IS cannot reach it, and all of the
 * VMID go (specification section 7.1).
 *
 * The DSB between the two TLBIs is needed: without one the architecture lets CPUs perform them in any order, and
 *  1. CPU 0 takes part in VMALLE1IS and drops its combined entries;
 *  2. its guest walks again, and fills one from the stage-2 entry that it still has;
 *  3. it takes part in IPAS2E1IS; the combined entry stays, and leads to memory that is then freed.
 *
 * (This machine performs commands in the order of its ring, so it cannot show that schedule.)
 */
import { Barrier, barrier, type Op } from '#port';
import type { Asid, Va, Vmid } from '../machine/address.ts';
import { TlbiKind } from '../machine/tlbi.ts';
import { Stage2Mmu, type LocalTlb } from './stage2-mmu.ts';

export class TwoStageMmu extends Stage2Mmu {
  protected override *dropCombined(vmid: Vmid): Op<void> {
    const kind = TlbiKind.stage1;
    yield* this.interconnect.tlbi({ kind, vmid, va: 0 as Va, asid: 0 as Asid });
    yield* this.interconnect.dsbIsh();
  }

  protected override *dropCombinedLocal(cpu: LocalTlb, vmid: Vmid): Op<void> {
    cpu.invalidateLocal({ kind: TlbiKind.stage1, vmid, va: 0 as Va, asid: 0 as Asid });
    yield* barrier(Barrier.dsbNsh);
  }
}
