/** What KVM asks of the host's memory areas (VMAs) outside of faults: where a slot lies over device memory. */
import type { Op } from '#port';
import type { Hva, Phys } from '../machine/address.ts';
import type { HostMemory } from './host/host-memory.ts';
import type { HvaRange } from './host/mmu-notifier.ts';
import type { Memslot } from './memslots.ts';

/** A mapped area, or the part of one that a range covers. */
export interface UserArea extends HvaRange {
  /** Physical address of the first byte of device memory (PFN-mapped); null for RAM. */
  readonly device: Phys | null;
  readonly isWritable: boolean;
}

export interface UserAreas {
  /** Takes the mmap lock for reading, which keeps areas as they are until `unlock`; gives those that meet the range. Never under `mmu_lock`. */
  lock(range: HvaRange): Op<readonly UserArea[]>;
  unlock(): Op<void>;
}

/** The areas of the process that the VM belongs to. */
export class HostAreas implements UserAreas {
  readonly #host: HostMemory;

  constructor(host: HostMemory) {
    this.#host = host;
  }

  *lock({ hva, bytes }: HvaRange): Op<readonly UserArea[]> {
    const { mmapLock, mm } = this.#host;
    yield* mmapLock.readLock();
    return mm.vmas.areas
      .filter((area) => area.isMapped && area.hva < hva + bytes && hva < area.hva + area.bytes)
      .map(({ hva: first, bytes: size, isWritable, kind, pgoff }) => {
        const device = kind === 'pfnmap' ? ((pgoff * mm.geometry.pageBytes) as Phys) : null;
        return { hva: first, bytes: size, device, isWritable };
      });
  }

  *unlock(): Op<void> {
    yield* this.#host.mmapLock.readUnlock();
  }
}

/** The part of an area that a slot covers; they meet. */
export function clip(area: UserArea, slot: Memslot): UserArea {
  const first = Math.max(area.hva, slot.hva);
  const end = Math.min(area.hva + area.bytes, slot.hva + slot.bytes);
  const device = area.device === null ? null : ((area.device + first - area.hva) as Phys);
  return { hva: first as Hva, bytes: end - first, device, isWritable: area.isWritable };
}
