/** A hypervisor being set up over EL2's operations, and what it has mapped in words. */
import { drive } from '../../src/engine/explore.ts';
import type { Phys } from '../../src/machine/address.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { kvmMmuInit, type HypMappings, type HypOptions } from '../../src/kvm/hyp-mappings.ts';
import { TinyMachine } from '../support/tiny-machine.ts';
import { El2Ops, attributesOf, hypLeaves, oaOf } from '../pgtable/hyp-helpers.ts';

/** In the upper half of 39 bits, 2 MiB-aligned. */
export const IDMAP = 0x60_0000_0000;
const LINEAR_START = 0x10_0000_0000;
const RAM = 0x8000_0000;

/** AttrIndx, AP, XN as words. */
const WORDS: ReadonlyMap<bigint, string> = new Map([
  [0x0040_0000_0000_0040n, 'rw-'],
  [0x0040_0000_0000_00c0n, 'r--'],
  [0x0000_0000_0000_00c0n, 'r-x'],
  [0x0040_0000_0000_0050n, 'rw- device'],
]);
const PERMISSIONS = 0x0040_0000_0000_00dcn;

export interface MappedLeaf {
  readonly va: number;
  readonly oa: number;
  readonly level: number;
  readonly is: string;
}

export interface HypSetupOptions {
  readonly shift?: number;
  readonly kernelVaBits?: number;
  readonly idmap?: number;
  readonly linear?: HypOptions['linear'];
  /** Of the pool. */
  readonly pages?: number;
  /** Physical address of a kernel address; contiguous from {@link RAM} on otherwise. */
  readonly physOf?: (kernelVa: number) => number;
}

export class HypSetup {
  readonly ops: El2Ops;
  readonly #machine: TinyMachine;
  readonly #options: HypOptions;
  readonly #pages: number;
  #mappings: HypMappings | null = null;

  constructor(options: HypSetupOptions = {}) {
    const { shift = 12, kernelVaBits = 39, idmap = IDMAP, pages = 16 } = options;
    const { physOf = (va) => RAM + va } = options;
    this.#machine = new TinyMachine({ tableFrames: 16, tableBytes: 2 ** shift });
    this.#pages = pages;
    this.ops = new El2Ops(this.#machine.main.memory.tables, pages);
    this.#options = {
      geometry: new Geometry(shift),
      kernelVaBits,
      idmap: idmap as Phys,
      linear: options.linear ?? { start: LINEAR_START, end: LINEAR_START + 2 ** 32 },
      kernel: { hypVaOf: this.hypVaOf, physOf: (va) => physOf(va) as Phys },
      ops: this.ops,
      pages: this.ops,
    };
  }

  readonly hypVaOf = (kernelVa: number): number => LINEAR_START + kernelVa;

  phys(address: number): Phys {
    return address as Phys;
  }

  /** `ok`, or why not. */
  init(): string {
    const made = drive(kvmMmuInit(this.#options));
    if (typeof made === 'string') return made;
    this.#mappings = made;
    return 'ok';
  }

  /** Of a set-up that has to succeed. */
  start(): HypMappings {
    const outcome = this.init();
    if (this.#mappings === null) throw new Error(outcome);
    return this.#mappings;
  }

  leaves(): MappedLeaf[] {
    if (this.#mappings === null) throw new Error('not started');
    return hypLeaves(this.#machine, this.#mappings.pgt).map(({ va, level, value }) => ({
      va,
      oa: oaOf(value),
      level,
      is: WORDS.get(attributesOf(value) & PERMISSIONS) ?? 'else',
    }));
  }

  /** Pages of the pool in use. */
  inUse(): number {
    return this.#pages - this.ops.left;
  }
}
