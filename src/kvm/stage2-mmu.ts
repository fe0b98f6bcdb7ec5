/**
 * The MMU of a VM: what its stage-2 table needs of frames and TLBs (the kernel's `kvm_s2_mmu` and mm_ops), and the sequences of TLB
 * maintenance of specification section 7.1.
 *
 * Without guest stage 1 there are no combined (VA to PA) entries, so the second TLBI of the `ipa` sequence has nothing to remove; its
 * barriers stand.
 */
import { Barrier, barrier, count, event, type Op } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Ipa, Phys, Vmid } from '../machine/address.ts';
import { FRAME_BYTES, type FrameZone } from '../machine/frames.ts';
import type { Geometry } from '../machine/geometry.ts';
import { NO_HINT, TlbiKind, type Interconnect } from '../machine/tlbi.ts';
import type { LevelHint, MmOps } from '../pgtable/mm-ops.ts';
import { TablePages } from './table-pages.ts';

export class Stage2Mmu extends TablePages implements MmOps {
  readonly #interconnect: Interconnect;
  readonly #vmid: Vmid;
  readonly #walks: number;

  /** `walks`: offset of the counter of software walks in the agent's statistics block. */
  constructor(options: {
    readonly tables: FrameZone;
    readonly interconnect: Interconnect;
    readonly vmid: Vmid;
    readonly walks: number;
    readonly geometry: Geometry;
  }) {
    super(options.tables, options.geometry);
    this.#interconnect = options.interconnect;
    this.#vmid = options.vmid;
    this.#walks = options.walks;
  }

  *tlbFlushIpa(ipa: number, level: LevelHint): Op<void> {
    yield* barrier(Barrier.dsbIshst);
    yield* this.#interconnect.tlbi({
      kind: TlbiKind.ipa,
      vmid: this.#vmid,
      ipa: ipa as Ipa,
      level,
    });
    yield* this.#interconnect.dsbIsh();
    yield* barrier(Barrier.isb);
  }

  /** Broadcast: which CPU this agent runs on is not known here, and invalidating more is allowed. */
  *tlbFlushIpaLocal(ipa: number, level: LevelHint): Op<void> {
    yield* this.tlbFlushIpa(ipa, level);
  }

  /** The whole VMID: the machine has no FEAT_TLBIRANGE. */
  *tlbFlushRange(): Op<void> {
    yield* this.tlbFlushVmid();
  }

  *tlbFlushVmid(): Op<void> {
    yield* barrier(Barrier.dsbIshst);
    const command = {
      kind: TlbiKind.vmid,
      vmid: this.#vmid,
      ipa: 0 as Ipa,
      level: NO_HINT,
    } as const;
    yield* this.#interconnect.tlbi(command);
    yield* this.#interconnect.dsbIsh();
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
