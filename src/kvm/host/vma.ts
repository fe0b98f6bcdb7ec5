/** Virtual memory areas of the host process: a fixed table, of which only the mark "mapped" and the permission change. */
import { read32, write32, type Word } from '#port';
import type { Hva } from '../../machine/address.ts';
import type { UserfaultLayout, UserfaultSpec } from './userfault.ts';

export type VmaKind = 'anonymous' | 'transparentHuge' | 'hugetlb' | 'shared' | 'pfnmap';

/** What the process asked for. */
export interface VmaSpec {
  /** First address and length: whole pages, of `hugetlb` whole huge pages. */
  readonly hva: Hva;
  readonly bytes: number;
  /**
   * `anonymous`: private, base pages only; `transparentHuge`: private, huge pages where they fit; `hugetlb`: huge pages or none;
   * `shared`: pages of the shared object, which other areas may map too; `pfnmap`: device memory.
   */
  readonly kind: VmaKind;
  /** Bytes of a page: of `hugetlb` one of the granule's huge pages (contiguous entries included), otherwise a base page. */
  readonly hugeBytes: number;
  /** First page of the shared object, or first page frame number of the device; otherwise 0. */
  readonly pgoff: number;
  readonly isWritable: boolean;
  /** Registered with userfaultfd: of `anonymous` and `shared` areas. */
  readonly userfault?: UserfaultSpec;
}

/** An area as KVM sees it; `isWritable` says what is true now. Valid while the mmap lock is held. */
export type Vma = Omit<VmaSpec, 'pgoff' | 'userfault'>;

export interface VmaLayout extends Omit<VmaSpec, 'userfault'> {
  /** {@link VmaFlag} bits, protected by the mmap lock. */
  readonly flags: Word;
  readonly userfault: UserfaultLayout | null;
}

/** Zeroed memory is an area that is mapped as asked for. */
const VmaFlag = { unmapped: 1, writeToggled: 2 } as const;

export class VmArea implements Vma {
  readonly hva: Hva;
  readonly bytes: number;
  readonly kind: VmaKind;
  readonly hugeBytes: number;
  readonly pgoff: number;
  readonly userfault: UserfaultLayout | null;
  readonly #layout: VmaLayout;

  constructor(layout: VmaLayout) {
    this.hva = layout.hva;
    this.bytes = layout.bytes;
    this.kind = layout.kind;
    this.hugeBytes = layout.hugeBytes;
    this.pgoff = layout.pgoff;
    this.userfault = layout.userfault;
    this.#layout = layout;
  }

  get isMapped(): boolean {
    return !this.#has(VmaFlag.unmapped);
  }

  set isMapped(value: boolean) {
    this.#change(VmaFlag.unmapped, !value);
  }

  get isWritable(): boolean {
    return this.#layout.isWritable !== this.#has(VmaFlag.writeToggled);
  }

  set isWritable(value: boolean) {
    this.#change(VmaFlag.writeToggled, value !== this.#layout.isWritable);
  }

  /** Whether its pages belong to this address space alone. */
  get isPrivate(): boolean {
    return this.kind === 'anonymous' || this.kind === 'transparentHuge';
  }

  /** Whether `bytes` bytes from `hva` on lie inside, mapped or not. */
  contains(hva: number, bytes = 1): boolean {
    return hva >= this.hva && hva + bytes <= this.hva + this.bytes;
  }

  #has(flag: number): boolean {
    return (read32(this.#layout.flags) & flag) !== 0;
  }

  #change(flag: number, value: boolean): void {
    const others = read32(this.#layout.flags) & ~flag;
    write32(this.#layout.flags, value ? others | flag : others);
  }
}

export class VmaTable {
  readonly areas: readonly VmArea[];

  constructor(layouts: readonly VmaLayout[]) {
    this.areas = layouts.map((layout) => new VmArea(layout));
  }

  /** The mapped area of an address, or null. The mmap lock is held. */
  at(hva: Hva): VmArea | null {
    const area = this.covering(hva);
    return area !== null && area.isMapped ? area : null;
  }

  /** The area of an address, mapped or not: the table of areas never changes. */
  covering(hva: Hva): VmArea | null {
    return this.areas.find((area) => area.contains(hva)) ?? null;
  }
}
