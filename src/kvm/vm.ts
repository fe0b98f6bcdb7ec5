/**
 * A virtual machine as one agent sees it: shared words behind objects that are the agent's own. The table's root word is the
 * single test of liveness for asynchronous users (the kernel's "cookie"): 0 means torn down.
 */
import type { Op } from '#port';
import type { Ipa } from '../machine/address.ts';
import type { FailurePoint } from '../machine/failure-point.ts';
import type { MachineFeatures } from '../machine/features.ts';
import type { PhysicalMemory } from '../machine/frames.ts';
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import { decodeVtcr, encodeVttbr, type Stage2Registers } from '../machine/vtcr.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { Stage2Config } from '../pgtable/stage2-init.ts';
import type { AbortPolicy } from './abort-policy.ts';
import type { DirtyLogMode } from './dirty-log.ts';
import type { HostMemory } from './host/host-memory.ts';
import type { BlockSplitter } from './generations/eager-split.ts';
import type { SlotPreparation } from './generations/slot-preparation.ts';
import type { InvalidationGate } from './generations/invalidation-gate.ts';
import type { Memslots } from './memslots.ts';
import type { MmuLock } from './mmu-lock.ts';
import type { Notifier } from './notifier.ts';
import type { Stage2Mmu } from './stage2-mmu.ts';
import type { Stage2Operations } from './stage2-operations.ts';
import type { Stage2Root } from './stage2-root.ts';
import type { Twin } from './twin.ts';
import type { UserAreas } from './user-areas.ts';
import type { UserMemAbort } from './user-mem-abort.ts';
import type { WalkSections } from './generations/walk-sections.ts';

/** What a VM is made of. */
export interface VmParts {
  readonly geometry: Geometry;
  readonly features: MachineFeatures;
  /** Shape and encoding of the stage-2 table. */
  readonly config: Stage2Config;
  readonly memory: PhysicalMemory;
  readonly mmu: Stage2Mmu;
  readonly stage2: Stage2Operations;
  readonly faults: UserMemAbort;
  readonly mmuLock: MmuLock;
  /** What becomes of blocks where dirty pages are logged. */
  readonly splitter: BlockSplitter;
  /** What a slot that comes is looked at for. */
  readonly preparation: SlotPreparation;
  /** Of shared walks. */
  readonly sections: WalkSections;
  readonly notifier: Notifier;
  readonly gate: InvalidationGate;
  readonly memslots: Memslots;
  readonly dirtyLogMode: DirtyLogMode;
  readonly areas: UserAreas;
  readonly host: HostMemory;
  readonly root: Stage2Root;
  readonly policy: AbortPolicy;
  /** Where the preparation of a memslot can be made to fail. */
  readonly prepare: FailurePoint;
  /** The second table, with `--twin`; `stage2` changes it, too. */
  readonly twin: Twin | null;
}

export class Vm {
  readonly parts: VmParts;

  /** Table pages that one leaf can need: a table at each level below the root. */
  readonly memcachePagesMin: number;

  readonly #ipaLimit: number;

  constructor(parts: VmParts) {
    this.parts = parts;
    const { ipaBits, startLevel } = decodeVtcr(parts.config.vtcr);
    this.#ipaLimit = 2 ** ipaBits;
    this.memcachePagesMin = LAST_LEVEL - startLevel;
  }

  /** Allocates the stage-2 table (specification section 5L), and its twin. False without memory for a root. */
  *initStage2(): Op<boolean> {
    const { mmu, root, twin } = this.parts;
    yield* mmu.init();
    return (yield* root.create()) && (twin === null || (yield* twin.create()));
  }

  /** Takes the table away from everybody, then frees it outside the lock. A second caller finds nothing. */
  *freeStage2(): Op<void> {
    const { mmuLock, root, stage2 } = this.parts;
    yield* mmuLock.lock();
    const pgt = yield* this.pgt();
    if (pgt !== null) yield* stage2.teardownLocked(pgt);
    yield* root.clear();
    yield* mmuLock.unlock();
    if (pgt !== null) yield* stage2.destroy(pgt);
  }

  /** The live table, or null after teardown. To be read again after every drop of `mmu_lock`. */
  *pgt(): Op<Stage2Pgtable | null> {
    return yield* this.parts.root.pgt();
  }

  /** VTCR_EL2 and VTTBR_EL2 as a vCPU loads them; null if the table is gone. */
  *liveRegisters(): Op<Stage2Registers | null> {
    const pgt = yield* this.pgt();
    if (pgt === null) return null;
    const vmid = yield* this.parts.mmu.vmid();
    return { vtcr: this.parts.config.vtcr, vttbr: encodeVttbr(pgt.pgd, vmid) };
  }

  /** The same of a VM that has a table. */
  *registers(): Op<Stage2Registers> {
    const registers = yield* this.liveRegisters();
    if (registers === null) throw new Error('vCPU loaded without a stage-2 table');
    return registers;
  }

  /** Pages of the VM's IPA space. */
  get ipaPages(): number {
    return this.#ipaLimit / this.parts.geometry.pageBytes;
  }

  /** Whether an address lies inside the VM's IPA space. */
  isInIpaSpace(address: Ipa): boolean {
    return address < this.#ipaLimit;
  }
}
