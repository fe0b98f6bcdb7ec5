/** The table code of 5.18 to 6.1: faults are still alone in the table, but for writes to pages that are mapped and logged. */
import type { Op } from '#port';
import type { Descriptor } from '../../machine/descriptor.ts';
import { stage2Map } from '../../pgtable/exclusive/map.ts';
import { stage2RelaxPerms } from '../../pgtable/exclusive/relax.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import {
  stage2Mkyoung,
  stage2TestClearYoung,
  stage2Wrprotect,
} from '../../pgtable/parallel/attributes.ts';
import { stage2Destroy } from '../../pgtable/parallel/unlinked.ts';
import { stage2UnmapEach } from '../../pgtable/parallel/unmap.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { ONE_LEAF } from '../../pgtable/stage2-attributes.ts';
import type { MapRequest } from '../../pgtable/stage2-map.ts';
import type { MmuLockSide } from '../mmu-lock.ts';
import { RewrittenStage2 } from '../rewritten-stage2.ts';
import type { FaultClass, FaultMapping } from '../stage2-operations.ts';

export class ExclusiveStage2 extends RewrittenStage2 {
  /**
   * A write to a page that is mapped and logged only adds a permission. Why plain stores do beside each other: all of them add, nobody may
   * add, remove or resize entries meanwhile, and of two that race for one leaf the loser's guest faults once more.
   */
  override faultSide(fault: FaultClass): MmuLockSide {
    const { isPermission, isWrite, logging, size, leafSize } = fault;
    return isPermission && isWrite && logging && size === leafSize ? 'read' : 'write';
  }

  /** The largest block: what others wait for is bounded. */
  override chunkBytes({ geometry }: Stage2Pgtable): number {
    return geometry.sizeOf(geometry.blockLevelMin);
  }

  /** Nothing: maps and relaxes do it, before they store. */
  protected override *cleanForFault(): Op<void> {}

  protected override *mapFault(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, request);
  }

  /** Of the address that faulted: where a block stood, the leaf may be smaller by now. */
  protected override *relax(pgt: Stage2Pgtable, { ipa }: FaultMapping, prot: number): Op<Outcome> {
    return yield* stage2RelaxPerms(pgt, ipa, prot);
  }

  /** Without a fault that would come again: `again` where the page is mapped already. */
  protected override *mapPage(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, request);
  }

  override *unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2UnmapEach(pgt, ipa, size);
  }

  override *wrprotect(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Wrprotect(pgt, ipa, size);
  }

  override *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    return yield* stage2Mkyoung(pgt, ipa, 0);
  }

  override *mkold(pgt: Stage2Pgtable, ipa: number, _size: number): Op<boolean> {
    return yield* stage2TestClearYoung(pgt, { ipa, size: ONE_LEAF, mkold: true });
  }

  override *isYoung(pgt: Stage2Pgtable, ipa: number, _size: number): Op<boolean> {
    return yield* stage2TestClearYoung(pgt, { ipa, size: ONE_LEAF, mkold: false });
  }

  override *destroy(pgt: Stage2Pgtable): Op<void> {
    yield* stage2Destroy(pgt);
  }
}
