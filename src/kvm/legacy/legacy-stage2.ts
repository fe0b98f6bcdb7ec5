/** The table code that the rewrite replaced, profile `legacy`: leaves are built from scratch, a write permission fault takes two walks. */
import type { Op } from '#port';
import type { Level, Phys } from '../../machine/address.ts';
import type { Descriptor } from '../../machine/descriptor.ts';
import { legacyChangePte, legacyIoremap } from '../../pgtable/legacy/host-page.ts';
import { legacyFault } from '../../pgtable/legacy/fault.ts';
import { legacyFlush } from '../../pgtable/legacy/flush.ts';
import { legacyAge, legacyMkyoung, legacyTestAge } from '../../pgtable/legacy/leaf.ts';
import { legacyFreePgd, legacyUnmap } from '../../pgtable/legacy/unmap.ts';
import { legacyWrprotect } from '../../pgtable/legacy/wrprotect.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { cleanForFault } from '../generations/fault-cleaning.ts';
import { exactLevel, type SlotPlace } from '../mapping-size.ts';
import type { MmuLockSide } from '../mmu-lock.ts';
import type {
  DevicePage,
  FaultMapping,
  SplitRange,
  Stage2Operations,
} from '../stage2-operations.ts';

export class LegacyStage2 implements Stage2Operations {
  readonly youngSide: MmuLockSide = 'write';

  faultSide(): MmuLockSide {
    return 'write';
  }

  hugetlbLevel(place: SlotPlace, hugeBytes: number): Level {
    return exactLevel(place, hugeBytes);
  }

  /** An entry of the start level. */
  chunkBytes(pgt: Stage2Pgtable): number {
    return pgt.geometry.sizeOf(pgt.startLevel);
  }

  /** On every fault: any of them may need tables. */
  needsTopUp(): boolean {
    return true;
  }

  *faultIn(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome> {
    yield* cleanForFault(pgt, mapping);
    return yield* legacyFault(pgt, mapping);
  }

  *unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    yield* legacyUnmap(pgt, ipa, size);
    return 'ok';
  }

  *wrprotect(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    yield* legacyWrprotect(pgt, ipa, size);
    return 'ok';
  }

  *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    return yield* legacyMkyoung(pgt, ipa);
  }

  *mkold(pgt: Stage2Pgtable, ipa: number): Op<boolean> {
    return yield* legacyAge(pgt, ipa);
  }

  *isYoung(pgt: Stage2Pgtable, ipa: number): Op<boolean> {
    return yield* legacyTestAge(pgt, ipa);
  }

  *flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    yield* legacyFlush(pgt, ipa, size);
    return 'ok';
  }

  *changePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void> {
    yield* legacyChangePte(pgt, ipa, frame);
  }

  *mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    return yield* legacyIoremap(pgt, page);
  }

  // oxlint-disable-next-line require-yield -- later generations have something to do.
  *split(_pgt: Stage2Pgtable, _range: SplitRange): Op<Outcome> {
    return 'ok';
  }

  /** The whole IPA space is unmapped, entry by entry with a TLBI each, while vCPUs may still run. */
  *teardownLocked(pgt: Stage2Pgtable): Op<void> {
    yield* legacyUnmap(pgt, 0, pgt.iaLimit);
  }

  *destroy(pgt: Stage2Pgtable): Op<void> {
    yield* legacyFreePgd(pgt);
  }
}
