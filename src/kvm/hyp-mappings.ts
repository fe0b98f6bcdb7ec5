/**
 * What the kernel maps for its hypervisor on a machine without VHE (specification section 3.5; the kernel's kvm_mmu_init and
 * create_hyp_mappings).
 *
 * The kernel runs each of these under one mutex. Here they belong to one agent, at boot: nothing else may change the table meanwhile.
 */
import type { Op } from '#port';
import type { Phys } from '../machine/address.ts';
import type { Geometry } from '../machine/geometry.ts';
import { hypDestroy, hypInit, hypMap, type HypMapRequest } from '../pgtable/hyp.ts';
import { HYP_PROT } from '../pgtable/hyp-prot.ts';
import type { MmOps, TableCache } from '../pgtable/mm-ops.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Pgtable } from '../pgtable/pgtable.ts';

/** Where the kernel's addresses lead. They are numbers without their sign extension: the low `kernelVaBits` bits. */
export interface KernelAddresses {
  /** The hypervisor's address for the kernel's. Keeps the order and distance of addresses. */
  hypVaOf(kernelVa: number): number;
  /** Physical address; each page for itself, as of vmalloc memory. */
  physOf(kernelVa: number): Phys;
}

/** The machine and kernel that a hypervisor is set up on. Addresses and sizes in bytes. */
export interface HypOptions {
  readonly geometry: Geometry;
  /** VA_BITS of the kernel. */
  readonly kernelVaBits: number;
  readonly kernel: KernelAddresses;
  /** Of the code that runs while the MMU is turned on: in the one page that is mapped to itself. */
  readonly idmap: Phys;
  /** The kernel's linear map, as the hypervisor's addresses. */
  readonly linear: { readonly start: number; readonly end: number };
  readonly ops: MmOps;
  readonly pages: TableCache;
}

/** Why nothing was set up or mapped. */
export type Refusal = Exclude<Outcome, 'ok'>;

/**
 * A table with the identity-mapped page, executable. It has as many bits of virtual address as the kernel, or more where that page lies
 * higher. `invalid` when the page lies in the linear range, or when the table cannot have so many bits.
 */
export function* kvmMmuInit(options: HypOptions): Op<HypMappings | Refusal> {
  const { geometry, kernelVaBits, linear, ops } = options;
  const idmap = geometry.pageDown(options.idmap);
  if (idmap >= linear.start && idmap < linear.end) return 'invalid';
  const vaBits = bitsToReach(idmap, kernelVaBits);
  const pgt = yield* hypInit(geometry, vaBits, ops);
  if (typeof pgt === 'string') return pgt;
  const mappings = new HypMappings(pgt, options);
  const outcome = yield* mappings.mapIdmap();
  if (outcome === 'ok') return mappings;
  yield* hypDestroy(pgt);
  return outcome;
}

/** The hypervisor's mappings; made by {@link kvmMmuInit}. */
export class HypMappings {
  readonly pgt: Pgtable;
  /** Valid leaves that differed from a request and were kept, in all (`HypMapped`): 0 unless callers overlap. */
  kept = 0;
  readonly #kernelVaBits: number;
  readonly #kernel: KernelAddresses;
  readonly #idmap: number;
  readonly #pages: TableCache;
  /** The lowest private address so far: the range grows downwards from the identity-mapped page. */
  #privateBase: number;

  constructor(pgt: Pgtable, options: HypOptions) {
    this.pgt = pgt;
    this.#kernelVaBits = options.kernelVaBits;
    this.#kernel = options.kernel;
    this.#pages = options.pages;
    this.#idmap = pgt.geometry.pageDown(options.idmap);
    this.#privateBase = this.#idmap;
  }

  *mapIdmap(): Op<Outcome> {
    const { pageBytes } = this.pgt.geometry;
    return yield* this.#map(this.#idmap, pageBytes, this.#idmap, HYP_PROT.exec);
  }

  /**
   * Maps the pages of kernel addresses [`from`, `to`) one by one: their memory need not be contiguous, so there are no blocks. The first
   * failure ends it; pages before it stay.
   */
  *createHypMappings(from: number, to: number, prot: number): Op<Outcome> {
    const { geometry } = this.pgt;
    const start = geometry.pageDown(this.#kernel.hypVaOf(from));
    const end = this.#kernel.hypVaOf(to);
    for (let va = start; va < end; va += geometry.pageBytes) {
      const phys = this.#kernel.physOf(from + (va - start));
      const outcome = yield* this.#map(va, geometry.pageBytes, phys, prot);
      if (outcome !== 'ok') return outcome;
    }
    return 'ok';
  }

  /** Maps device registers; gives their private address. The kernel's own mapping of them is not modelled. */
  *createHypIoMappings(phys: Phys, size: number): Op<number | Refusal> {
    return yield* this.#createPrivate(phys, size, HYP_PROT.device);
  }

  /** Maps code; gives its private address. */
  *createHypExecMappings(phys: Phys, size: number): Op<number | Refusal> {
    return yield* this.#createPrivate(phys, size, HYP_PROT.exec);
  }

  /** Address space is not given back when the map fails. */
  *#createPrivate(phys: Phys, size: number, prot: number): Op<number | Refusal> {
    const { geometry } = this.pgt;
    const offset = phys - geometry.pageDown(phys);
    const bytes = geometry.pageUp(size + offset);
    const base = this.#allocatePrivate(bytes);
    if (base === null) return 'noMemory';
    const outcome = yield* this.#map(base, bytes, phys, prot);
    return outcome === 'ok' ? base + offset : outcome;
  }

  /** The base of `bytes` private bytes, or null if they would cross into the other half of the kernel's address space. */
  #allocatePrivate(bytes: number): number | null {
    const base = this.#privateBase - bytes;
    if (base < 0 || this.#topBit(base) !== this.#topBit(this.#privateBase)) return null;
    this.#privateBase = base;
    return base;
  }

  #topBit(va: number): number {
    return Math.floor(va / 2 ** (this.#kernelVaBits - 1)) % 2;
  }

  *#map(va: number, size: number, phys: number, prot: number): Op<Outcome> {
    const request: HypMapRequest = { va, size, phys: phys as Phys, prot, pages: this.#pages };
    const { outcome, kept } = yield* hypMap(this.pgt, request);
    this.kept += kept;
    return outcome;
  }
}

/** Bits of a virtual address that reach `address`, and at least `bitsMin` (64 - T0SZ of the kernel's identity map). */
function bitsToReach(address: number, bitsMin: number): number {
  let bits = bitsMin;
  while (2 ** bits <= address) bits++;
  return bits;
}
