/**
 * The VM as the abort handler uses it: the host's memory and the slots by what is asked of them, so that each step can be tested
 * alone. A `Vm` is one.
 */
import type { Op } from '#port';
import type { Gfn, Hva, Ipa, Phys } from '../machine/address.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { AbortPolicy } from './abort-policy.ts';
import type { Pinned } from './host/pinned.ts';
import type { Vma } from './host/vma.ts';
import type { SlotExtent } from './mapping-size.ts';
import type { VmParts } from './vm.ts';

/** The host's user memory. */
export interface UserMemory {
  /** Held while areas are looked up; outside `mmu_lock`. */
  readonly mmapLock: { readLock(): Op<void>; readUnlock(): Op<void> };
  /** The area of an address, or null. The mmap lock is held. */
  vmaAt(hva: Hva): Op<Vma | null>;
  /** Takes a reference of the page at an address, which is faulted in first if need be; never under `mmu_lock`. */
  pin(hva: Hva, isWrite: boolean): Op<Pinned>;
  /** Drops the reference that a pin took. Like the next two nothing for a device, which is no frame of the machine's memory. */
  unpin(frame: Phys): Op<void>;
  markAccessed(frame: Phys): Op<void>;
  markDirty(frame: Phys): Op<void>;
}

/** A slot as it was when it was looked up: nothing of it changes inside the read section. */
export interface AbortSlot extends SlotExtent {
  readonly id: number;
  readonly isReadonly: boolean;
  /** Being deleted or moved: nothing is behind it any more. */
  readonly isInvalid: boolean;
  /** Whether writes are recorded: it has a bitmap and is not read-only. */
  isLogging(): boolean;
  hvaOf(gfn: Gfn): Hva;
  /** While it logs. */
  markDirty(gfn: Gfn): Op<void>;
}

/** The slots, read under SRCU. */
export interface AbortSlots {
  readLock(): Op<void>;
  readUnlock(): Op<void>;
  lookup(gfn: Gfn): Op<AbortSlot | undefined>;
}

export interface AbortVm {
  readonly parts: Pick<
    VmParts,
    'faults' | 'features' | 'geometry' | 'mmu' | 'mmuLock' | 'notifier' | 'stage2'
  > & {
    readonly host: UserMemory;
    readonly memslots: AbortSlots;
    readonly policy: AbortPolicy;
  };
  /** Table pages that one leaf can need. */
  readonly memcachePagesMin: number;
  /** The live table, or null after teardown. */
  pgt(): Op<Stage2Pgtable | null>;
  isInIpaSpace(address: Ipa): boolean;
}
