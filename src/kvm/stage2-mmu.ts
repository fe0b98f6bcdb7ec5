/**
 * The MMU of a VM: what its stage-2 table needs of frames and TLBs (the kernel's `kvm_s2_mmu` and mm_ops), and the sequences of TLB
 * maintenance of specification section 7.1.
 *
 * The second TLBI of the `ipa` sequence is for combined (VA to PA) entries: `TwoStageMmu` issues it. A guest that leaves its stage 1 off
 * has none.
 */
import {
  Barrier,
  Order,
  barrier,
  count,
  event,
  load32,
  read32,
  retryWhen,
  store64,
  write32,
  type Op,
  type Word,
} from '#port';
import { EventKind } from '../engine/events.ts';
import type { Reclaimer } from '../locking/rcu.ts';
import type { Ipa, Level, Phys, Vmid } from '../machine/address.ts';
import type { Cpu } from '../machine/cpu.ts';
import { FRAME_BYTES, type FrameZone } from '../machine/frames.ts';
import type { Geometry } from '../machine/geometry.ts';
import { rangePieces } from '../machine/range-tlbi.ts';
import { NO_HINT, TlbiKind, type Interconnect, type TlbiCommand } from '../machine/tlbi.ts';
import { LOCKED } from '../pgtable/invalid-entry.ts';
import type { LevelHint, MmOps } from '../pgtable/mm-ops.ts';
import type { WalkSections } from './generations/walk-sections.ts';
import { TablePages } from './table-pages.ts';
import { VmidWord } from './vmid/vmid-allocator.ts';

function wholeVmid(vmid: Vmid): TlbiCommand {
  return { kind: TlbiKind.vmid, vmid, ipa: 0 as Ipa, level: NO_HINT };
}

/** No entry. */
const NOWHERE: Word = 0;

/** What of a CPU its own agent can invalidate. */
export interface LocalTlb {
  invalidateLocal(command: TlbiCommand): void;
}

export class Stage2Mmu extends TablePages implements MmOps, Reclaimer {
  protected readonly interconnect: Interconnect;
  readonly #vmid: Word;
  readonly #lastVcpus: Word;
  readonly #cpus: number;
  readonly #walks: number;
  readonly #metLocked: number;
  readonly #sections: WalkSections;
  readonly hasRangeTlbi: boolean;
  #cpu: LocalTlb | null = null;
  /** The locked entry that the last walk met. */
  #locked = NOWHERE;

  /**
   * `vmid`: the VM's VMID word (see vmid/); `lastVcpus`: a word for each of `cpus`, for the vCPU that ran there last, plus 1; `walks`: offset of the
   * counter of software walks in the agent's statistics block, as `metLocked` that of locked entries that they met.
   */
  constructor(options: {
    readonly tables: FrameZone;
    readonly interconnect: Interconnect;
    readonly vmid: Word;
    readonly lastVcpus: Word;
    readonly cpus: number;
    readonly walks: number;
    readonly metLocked: number;
    readonly sections: WalkSections;
    readonly hasRangeTlbi: boolean;
    readonly geometry: Geometry;
  }) {
    super(options.tables, options.geometry);
    this.interconnect = options.interconnect;
    this.#vmid = options.vmid;
    this.#lastVcpus = options.lastVcpus;
    this.#cpus = options.cpus;
    this.#walks = options.walks;
    this.#metLocked = options.metLocked;
    this.#sections = options.sections;
    this.hasRangeTlbi = options.hasRangeTlbi;
  }

  /** A VM without VMID, whose vCPUs have run nowhere. */
  *init(): Op<void> {
    for (let cpu = 0; cpu < this.#cpus; cpu++) write32(this.#lastVcpus + cpu * 4, 0);
    yield* store64(this.#vmid, 0, 0, Order.once);
  }

  /** Where the VMID stands, for who gives VMIDs out. */
  get vmidWord(): Word {
    return this.#vmid;
  }

  /**
   * The VMID that the VM was given last. A vCPU may give it another one at any time; who invalidates may then have read the old one, because
   * the entry was broken before: what walks under the new VMID finds it broken.
   */
  *vmid(): Op<Vmid> {
    return (yield* load32(this.#vmid + VmidWord.vmid, Order.acquire)) as Vmid;
  }

  /** A vCPU comes to a CPU: what another one left in its TLB goes (section 7.1, `cpu_context`). */
  *vcpuLoad(vcpu: number, cpu: number, physical: Cpu): Op<void> {
    this.runOn(physical);
    const at = this.#lastVcpus + cpu * 4;
    const last = read32(at);
    write32(at, vcpu + 1);
    if (last === 0 || last === vcpu + 1) return;
    physical.invalidateLocal(wholeVmid(yield* this.vmid()));
    yield* barrier(Barrier.dsbNsh);
    yield* barrier(Barrier.isb);
  }

  *tlbFlushIpa(ipa: number, level: LevelHint): Op<void> {
    yield* barrier(Barrier.dsbIshst);
    const vmid = yield* this.vmid();
    yield* this.interconnect.tlbi({ kind: TlbiKind.ipa, vmid, ipa: ipa as Ipa, level });
    yield* this.interconnect.dsbIsh();
    yield* this.dropCombined(vmid);
    yield* barrier(Barrier.isb);
  }

  /** After a TLBI by IPA is complete, before the ISB. */
  protected *dropCombined(_vmid: Vmid): Op<void> {}

  /** The same on one CPU. */
  protected *dropCombinedLocal(_cpu: LocalTlb, _vmid: Vmid): Op<void> {}

  /** The CPU on which this agent runs a vCPU: its TLB is the one that local invalidations are for. */
  runOn(cpu: LocalTlb): void {
    this.#cpu = cpu;
  }

  *tlbFlushIpaLocal(ipa: number, level: LevelHint): Op<void> {
    if (this.#cpu === null) throw new Error('a local invalidation by an agent without a CPU');
    yield* barrier(Barrier.dsbNsh);
    const vmid = yield* this.vmid();
    this.#cpu.invalidateLocal({ kind: TlbiKind.ipa, vmid, ipa: ipa as Ipa, level });
    yield* barrier(Barrier.dsbNsh);
    yield* this.dropCombinedLocal(this.#cpu, vmid);
    yield* barrier(Barrier.isb);
  }

  /** Pieces that the architecture can name, or the whole VMID without FEAT_TLBIRANGE. */
  *tlbFlushRange(ipa: number, bytes: number): Op<void> {
    if (!this.hasRangeTlbi) {
      yield* this.tlbFlushVmid();
      return;
    }
    yield* barrier(Barrier.dsbIshst);
    const { pageBytes } = this.geometry;
    const vmid = yield* this.vmid();
    for (const piece of rangePieces(vmid, { ipa, bytes, pageBytes }))
      yield* this.interconnect.tlbi(piece);
    yield* this.interconnect.dsbIsh();
    yield* this.dropCombined(vmid);
    yield* barrier(Barrier.isb);
  }

  /** Once no walk can be in it: a daemon reclaims it. */
  override *freeUnlinkedTable(table: Word, level: Level): Op<void> {
    yield* this.#sections.defer(this.zone.recordOf(table, level));
  }

  *reclaim(record: Word): Op<void> {
    const { at, note } = this.zone.recorded(record);
    yield* super.freeUnlinkedTable(at, note as Level);
  }

  override *rcuReadLock(): Op<boolean> {
    return yield* this.#sections.readLock();
  }

  override *rcuReadUnlock(): Op<void> {
    yield* this.#sections.readUnlock();
  }

  override metLocked(entry: Word): void {
    count(this.#metLocked, 1);
    this.#locked = entry;
  }

  /** After a fault whose walk met a locked entry, and once nothing is held: while that is not made, the guest would only fault again. */
  *awaitMade(): Op<void> {
    const entry = this.#locked;
    if (entry === NOWHERE) return;
    this.#locked = NOWHERE;
    yield* retryWhen(entry, LOCKED.lo);
  }

  *tlbFlushVmid(): Op<void> {
    yield* barrier(Barrier.dsbIshst);
    yield* this.interconnect.tlbi(wholeVmid(yield* this.vmid()));
    yield* this.interconnect.dsbIsh();
    yield* barrier(Barrier.isb);
  }

  *publishEntries(): Op<void> {
    yield* barrier(Barrier.dsbIshst);
  }

  // oxlint-disable-next-line require-yield -- the interface allows maintenance that does yield.
  *dcacheCleanInvalidate(address: Phys, bytes: number): Op<void> {
    event(EventKind.dcacheClean, Math.floor(address / FRAME_BYTES), bytes, 0);
  }

  // oxlint-disable-next-line require-yield -- the interface allows maintenance that does yield.
  *icacheInvalidate(address: Phys, bytes: number): Op<void> {
    event(EventKind.icacheInvalidate, Math.floor(address / FRAME_BYTES), bytes, 0);
  }

  // oxlint-disable-next-line require-yield -- as above.
  *icacheInvalidateAll(): Op<void> {
    event(EventKind.icacheInvalidate, 0, 0, 0);
  }

  walkBegin(): void {
    count(this.#walks, 1);
    event(EventKind.walkBegin, 0, 0, 0);
  }

  walkEnd(): void {
    event(EventKind.walkEnd, 0, 0, 0);
  }
}
