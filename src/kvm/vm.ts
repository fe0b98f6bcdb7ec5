/**
 * A virtual machine as one agent sees it: shared words behind objects that are the agent's own. The table's root word is the
 * single test of liveness for asynchronous users (the kernel's "cookie"): 0 means torn down.
 */
import { Order, load32, store32, type Op, type Word } from '#port';
import type { Ipa, Phys, Vmid } from '../machine/address.ts';
import { FRAME_BYTES, TABLE_RAM_BASE, type PhysicalMemory } from '../machine/frames.ts';
import type { MachineFeatures } from '../machine/features.ts';
import { LAST_LEVEL, type Geometry } from '../machine/geometry.ts';
import { decodeVtcr, encodeVttbr, type Stage2Registers } from '../machine/vtcr.ts';
import type { SpinLock } from '../locking/spin-lock.ts';
import {
  stage2Config,
  stage2Handle,
  stage2Init,
  type Stage2Config,
} from '../pgtable/stage2-init.ts';
import { NO_PGD, type Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { HostMemory } from './host-memory.ts';
import type { Memslots } from './memslots.ts';
import type { Notifier } from './notifier.ts';
import type { Stage2Mmu } from './stage2-mmu.ts';
import type { Stage2Operations } from './stage2-operations.ts';

/** What a VM is made of. */
export interface VmParts {
  readonly ipaBits: number;
  readonly vmid: Vmid;
  readonly geometry: Geometry;
  readonly features: MachineFeatures;
  readonly memory: PhysicalMemory;
  readonly mmu: Stage2Mmu;
  readonly stage2: Stage2Operations;
  readonly mmuLock: SpinLock;
  readonly notifier: Notifier;
  readonly memslots: Memslots;
  readonly host: HostMemory;
  /** The root word: frame number of the first root page plus 1, or 0. */
  readonly root: Word;
}

export class Vm {
  readonly parts: VmParts;
  #pgt: Stage2Pgtable | null = null;

  /** Table pages that one leaf can need: a table at each level below the root. */
  readonly memcachePagesMin: number;

  readonly #config: Stage2Config;
  readonly #ipaLimit: number;

  constructor(parts: VmParts) {
    this.parts = parts;
    this.#ipaLimit = 2 ** parts.ipaBits;
    this.#config = stage2Config(parts.geometry, parts.ipaBits, parts.features);
    this.memcachePagesMin = LAST_LEVEL - decodeVtcr(this.#config.vtcr).startLevel;
  }

  /** Allocates the stage-2 table (specification section 5L). False without memory for its root. */
  *initStage2(): Op<boolean> {
    const { mmu, root } = this.parts;
    if ((yield* load32(root, Order.once)) !== 0) throw new Error('stage 2 was initialised already');
    const pgt = yield* stage2Init(this.#config, mmu);
    if (pgt.pgd === NO_PGD) return false;
    yield* store32(root, (pgt.pgd - TABLE_RAM_BASE) / FRAME_BYTES + 1, Order.release);
    return true;
  }

  /** Takes the table away from everybody, then frees it outside the lock. A second caller finds nothing. */
  *freeStage2(): Op<void> {
    const { mmuLock, root, stage2 } = this.parts;
    yield* mmuLock.lock();
    const pgt = yield* this.pgt();
    if (pgt !== null) yield* stage2.teardownLocked(pgt);
    yield* store32(root, 0, Order.once);
    yield* mmuLock.unlock();
    if (pgt !== null) yield* stage2.destroy(pgt);
  }

  /** The live table, or null after teardown. To be read again after every drop of `mmu_lock`. */
  *pgt(): Op<Stage2Pgtable | null> {
    const { mmu, root } = this.parts;
    const number = yield* load32(root, Order.once);
    if (number === 0) return null;
    const pgd = (TABLE_RAM_BASE + (number - 1) * FRAME_BYTES) as Phys;
    if (this.#pgt?.pgd !== pgd) this.#pgt = stage2Handle(this.#config, pgd, mmu);
    return this.#pgt;
  }

  /** VTCR_EL2 and VTTBR_EL2 as a vCPU loads them. */
  *registers(): Op<Stage2Registers> {
    const pgt = yield* this.pgt();
    if (pgt === null) throw new Error('vCPU loaded without a stage-2 table');
    return { vtcr: this.#config.vtcr, vttbr: encodeVttbr(pgt.pgd, this.parts.vmid) };
  }

  /** Whether an address lies inside the VM's IPA space. */
  isInIpaSpace(address: Ipa): boolean {
    return address < this.#ipaLimit;
  }
}
