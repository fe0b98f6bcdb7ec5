/**
 * The shared object (shmem): memory that several areas may map, page by page, in any place. Its entries are those of a page table
 * with the states `none`, `page`, `migrating` and `poisoned`, under the same lock, and hold one reference of each frame.
 */
import { read32, write32, type Word } from '#port';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { Hva } from '../../machine/address.ts';
import { HOST_PTE_BYTES, type HostPte } from './host-pte.ts';
import type { HostMemoryLayout } from './layout.ts';
import type { VmArea } from './vma.ts';

export class SharedObject {
  readonly pages: number;
  readonly #entries: Word;
  readonly #pageBytes: number;
  readonly #lock: SpinLock;

  constructor(layout: HostMemoryLayout, lock: SpinLock) {
    this.pages = layout.sharedPages;
    this.#entries = layout.shared;
    this.#pageBytes = layout.geometry.pageBytes;
    this.#lock = lock;
  }

  /** The object's page behind an address of a shared area. */
  pageOf(area: VmArea, hva: Hva): number {
    return area.pgoff + Math.floor((hva - area.hva) / this.#pageBytes);
  }

  /** Where areas map a page of the object. */
  addressesOf(areas: readonly VmArea[], page: number): Hva[] {
    return areas
      .filter(({ kind }) => kind === 'shared')
      .map((area) => ({ area, hva: area.hva + (page - area.pgoff) * this.#pageBytes }))
      .filter(({ area, hva }) => area.contains(hva))
      .map(({ hva }) => hva as Hva);
  }

  /** Under the lock; without it only while nothing runs. */
  find(page: number): HostPte {
    return read32(this.#entries + page * HOST_PTE_BYTES) as HostPte;
  }

  setLocked(page: number, pte: HostPte): void {
    this.#lock.assertHeld();
    write32(this.#entries + page * HOST_PTE_BYTES, pte);
  }
}
