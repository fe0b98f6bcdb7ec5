/** The table code of 6.12: all faults at the same time, by compare-and-swap. What removes or restricts is alone in the table. */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import type { Descriptor } from '../../machine/descriptor.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import {
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2TestClearYoung,
} from '../../pgtable/parallel/attributes.ts';
import { stage2Map } from '../../pgtable/parallel/map.ts';
import { stage2Split } from '../../pgtable/parallel/split.ts';
import { stage2Unmap } from '../../pgtable/parallel/unmap.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { MapRequest } from '../../pgtable/stage2-map.ts';
import { WalkFlag } from '../../pgtable/walker.ts';
import { ExclusiveStage2 } from './exclusive-stage2.ts';
import type { MmuLockSide } from '../mmu-lock.ts';
import type { FaultMapping, SplitRange } from '../stage2-operations.ts';

/** A fault's walk: beside others, and ended by a lost race. */
const FAULT = WalkFlag.shared | WalkFlag.handleFault;

export class ParallelStage2 extends ExclusiveStage2 {
  override readonly youngSide: MmuLockSide = 'read';

  override faultSide(): MmuLockSide {
    return 'read';
  }

  protected override *mapFault(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, { ...request, flags: FAULT });
  }

  protected override *relax(pgt: Stage2Pgtable, { ipa }: FaultMapping, prot: number): Op<Outcome> {
    return yield* stage2RelaxPerms(pgt, { ipa, prot, flags: FAULT });
  }

  protected override *mapPage(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, { ...request, flags: 0 });
  }

  override *unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Unmap(pgt, ipa, size);
  }

  override *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    return yield* stage2Mkyoung(pgt, ipa, FAULT);
  }

  /** All leaves of the range. */
  override *mkold(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean> {
    return yield* stage2TestClearYoung(pgt, { ipa, size, mkold: true });
  }

  override *isYoung(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean> {
    return yield* stage2TestClearYoung(pgt, { ipa, size, mkold: false });
  }

  override *split(pgt: Stage2Pgtable, range: SplitRange): Op<Outcome> {
    return yield* stage2Split(pgt, { ...range, flags: WalkFlag.handleFault });
  }

  /** Never called: the notifier has no such call any more. */
  override *changePte(_pgt: Stage2Pgtable, _ipa: number, _frame: Phys): Op<void> {
    throw new Error('change_pte went with 6.10');
  }
}
