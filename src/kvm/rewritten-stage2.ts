/** The table code that the rewrite brought, profile `5.10`: one walk for each fault. Later generations replace parts of it. */
import type { Op } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import {
  stage2IsYoung,
  stage2Mkold,
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2Wrprotect,
} from '../pgtable/stage2-attributes.ts';
import { stage2Flush } from '../pgtable/stage2-flush.ts';
import { stage2Destroy } from '../pgtable/stage2-init.ts';
import { stage2Map, type MapRequest } from '../pgtable/stage2-map.ts';
import { Prot } from '../pgtable/stage2-prot.ts';
import { stage2Unmap } from '../pgtable/stage2-unmap.ts';
import { cleanForFault } from './generations/fault-cleaning.ts';
import { ladderLevel, type SlotPlace } from './mapping-size.ts';
import type { MmuLockSide } from './mmu-lock.ts';
import type {
  DevicePage,
  FaultClass,
  FaultMapping,
  SplitRange,
  Stage2Operations,
} from './stage2-operations.ts';

export class RewrittenStage2 implements Stage2Operations {
  readonly youngSide: MmuLockSide = 'write';

  faultSide(_fault: FaultClass): MmuLockSide {
    return 'write';
  }

  /** An entry of the start level. */
  chunkBytes(pgt: Stage2Pgtable): number {
    return pgt.geometry.sizeOf(pgt.startLevel);
  }

  hugetlbLevel(place: SlotPlace, hugeBytes: number): Level {
    return ladderLevel(place, hugeBytes);
  }

  /**
   * A permission fault needs no table, unless a block has to be dissolved: by a write while the slot logs, or (not seen by the release) by
   * whatever gets a page where the faulting leaf was a block.
   */
  needsTopUp({ isPermission, isWrite, logging, size, leafSize }: FaultClass): boolean {
    return !isPermission || (logging && isWrite) || size < leafSize;
  }

  /** Only permissions are missing if the faulting leaf has the mapping's size: they are added in place (invariant 60). */
  *faultIn(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome> {
    yield* this.cleanForFault(pgt, mapping);
    const { size, frame: phys, cache } = mapping;
    const ipa = Math.floor(mapping.ipa / size) * size;
    const prot = protOf(mapping);
    if (mapping.isPermission && mapping.leafSize === size)
      return yield* this.relax(pgt, mapping, prot);
    return yield* this.mapFault(pgt, { ipa, size, phys, prot, cache });
  }

  /** Step 14. */
  protected *cleanForFault(pgt: Stage2Pgtable, mapping: FaultMapping): Op<void> {
    yield* cleanForFault(pgt, mapping);
  }

  /** What a generation does to map the page of a fault. */
  protected *mapFault(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, request);
  }

  /** What it does to add permissions to the leaf of a fault. */
  protected *relax(pgt: Stage2Pgtable, { ipa, size }: FaultMapping, prot: number): Op<Outcome> {
    return yield* stage2RelaxPerms(pgt, Math.floor(ipa / size) * size, prot);
  }

  /** What it does to map a page without a fault: alone in the table. */
  protected *mapPage(pgt: Stage2Pgtable, request: MapRequest): Op<Outcome> {
    return yield* stage2Map(pgt, request);
  }

  *unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Unmap(pgt, ipa, size);
  }

  *wrprotect(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Wrprotect(pgt, ipa, size);
  }

  *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    return yield* stage2Mkyoung(pgt, ipa);
  }

  /** The first leaf of the range. */
  *mkold(pgt: Stage2Pgtable, ipa: number, _size: number): Op<boolean> {
    return (yield* stage2Mkold(pgt, ipa)).isYoung();
  }

  *isYoung(pgt: Stage2Pgtable, ipa: number, _size: number): Op<boolean> {
    return yield* stage2IsYoung(pgt, ipa);
  }

  *flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Flush(pgt, ipa, size);
  }

  /** R alone, on every machine: who writes or executes the page faults once more. */
  *changePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void> {
    const size = pgt.geometry.pageBytes;
    yield* this.mapPage(pgt, { ipa, size, phys: frame, prot: Prot.r, cache: null });
  }

  *mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    const { ipa, phys, isWritable, cache } = page;
    const prot = Prot.device | Prot.r | (isWritable ? Prot.w : 0);
    return yield* this.mapPage(pgt, { ipa, size: pgt.geometry.pageBytes, phys, prot, cache });
  }

  // oxlint-disable-next-line require-yield -- later generations have something to do.
  *split(_pgt: Stage2Pgtable, _range: SplitRange): Op<Outcome> {
    return 'ok';
  }

  /** Nothing: the table is freed outside the lock. */
  *teardownLocked(): Op<void> {}

  *destroy(pgt: Stage2Pgtable): Op<void> {
    yield* stage2Destroy(pgt);
  }
}

function protOf({ isWritable, isExec, isDevice, dic }: FaultMapping): number {
  const isExecutable = isExec || (dic && !isDevice);
  return (
    Prot.r | (isWritable ? Prot.w : 0) | (isExecutable ? Prot.x : 0) | (isDevice ? Prot.device : 0)
  );
}
