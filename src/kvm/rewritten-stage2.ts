/** The table code that the rewrite brought, profile `5.10`: one walk for each fault. */
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
import { stage2Map } from '../pgtable/stage2-map.ts';
import { Prot } from '../pgtable/stage2-prot.ts';
import { stage2Unmap } from '../pgtable/stage2-unmap.ts';
import { ladderLevel, type SlotPlace } from './mapping-size.ts';
import type {
  DevicePage,
  FaultClass,
  FaultMapping,
  Stage2Operations,
} from './stage2-operations.ts';

export class RewrittenStage2 implements Stage2Operations {
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
    const { size, frame: phys, cache } = mapping;
    const ipa = Math.floor(mapping.ipa / size) * size;
    const prot = protOf(mapping);
    if (mapping.isPermission && mapping.leafSize === size)
      return yield* stage2RelaxPerms(pgt, ipa, prot);
    return yield* stage2Map(pgt, { ipa, size, phys, prot, cache });
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

  *mkold(pgt: Stage2Pgtable, ipa: number): Op<boolean> {
    return (yield* stage2Mkold(pgt, ipa)).isYoung();
  }

  *isYoung(pgt: Stage2Pgtable, ipa: number): Op<boolean> {
    return yield* stage2IsYoung(pgt, ipa);
  }

  *flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    return yield* stage2Flush(pgt, ipa, size);
  }

  /** R alone, on every machine: who writes or executes the page faults once more. */
  *changePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void> {
    const size = pgt.geometry.pageBytes;
    yield* stage2Map(pgt, { ipa, size, phys: frame, prot: Prot.r, cache: null });
  }

  *mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    const { ipa, phys, isWritable, cache } = page;
    const prot = Prot.device | Prot.r | (isWritable ? Prot.w : 0);
    return yield* stage2Map(pgt, { ipa, size: pgt.geometry.pageBytes, phys, prot, cache });
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
