/**
 * Who has which VMID (specification section 7.4). There are fewer VMIDs than VMs, so they are given out in generations: when none is left, a new
 * generation begins, all TLBs are emptied, and every VM needs a new one before its next entry. VMID 0 is the host's.
 */
import { Order, load32, type Op, type Word } from '#port';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { Ipa, Vmid } from '../../machine/address.ts';
import { NO_HINT, TlbiKind, type Interconnect } from '../../machine/tlbi.ts';

/** A VM's VMID and its generation: a 64-bit word, zero until the VM's first entry. */
export const VmidWord = { vmid: 0, generation: 4 } as const;

/** An allocator of VMIDs as one agent sees it. */
export interface VmidAllocator {
  /** Before an entry on `cpu`, with interrupts on: the VM at `vmid` gets a VMID of the present generation, unless it has one. */
  update(vmid: Word, cpu: number): Op<void>;
  /** With interrupts off: whether it may still be entered with. If not, the entry is given up and made again. */
  mayEnter(vmid: Word): Op<boolean>;
  /** The vCPU that ran on `cpu` gives it up. */
  release(cpu: number): Op<void>;
}

/** The words of an allocator, zeroed. Each uses those it needs. */
export interface VmidLayout {
  /** Generations begun, less one. */
  readonly generation: Word;
  /** VMIDs given out in the present one; or where the search for a free one begins. */
  readonly cursor: Word;
  /** A bit for each VMID, in whole words. */
  readonly map: Word;
  /** Per CPU {@link CPU_VMID_BYTES}: what runs there, and what is kept for it. */
  readonly cpus: Word;
}

/** Bytes of one CPU in {@link VmidLayout.cpus}: two 64-bit words on a line of their own. */
export const CPU_VMID_BYTES = 128;

/** Bytes of a bit for each VMID. */
export function vmidMapBytes(vmidBits: number): number {
  return Math.max(4, 2 ** vmidBits / 8);
}

/** What an allocator is made from. */
export interface VmidParts {
  readonly layout: VmidLayout;
  readonly vmidBits: number;
  /** The kernel's kvm_vmid_lock, cpu_vmid_lock. */
  readonly lock: SpinLock;
  readonly interconnect: Interconnect;
}

/** The present generation: 1 at first. */
export function* presentGeneration({ generation }: VmidLayout): Op<number> {
  return ((yield* load32(generation, Order.acquire)) + 1) | 0;
}

/** Whether a VM's VMID is of the present generation. */
export function* isCurrent(layout: VmidLayout, vmid: Word): Op<boolean> {
  const generation = yield* load32(vmid + VmidWord.generation, Order.acquire);
  return generation === (yield* presentGeneration(layout));
}

/** Empties the TLBs of all CPUs: what the VMIDs of the last generation stood for is nowhere cached any more. */
export function* flushAllVmids(interconnect: Interconnect): Op<void> {
  yield* interconnect.tlbi({
    kind: TlbiKind.all,
    vmid: 0 as Vmid,
    ipa: 0 as Ipa,
    level: NO_HINT,
  });
  yield* interconnect.dsbIsh();
}
