/** One run with two VMs of different sizes and granules and a hypervisor's table of a third geometry, all on the one walker. */
import { expect, test } from 'vitest';
import { drive, type Op } from '#port';
import { reshaped, type Shape } from '../../scripts/reshaped.ts';
import { mix } from '../../src/engine/splitmix.ts';
import type { Level, Phys } from '../../src/machine/address.ts';
import { Descriptor } from '../../src/machine/descriptor.ts';
import { ARMV8_0 } from '../../src/machine/features.ts';
import { Geometry } from '../../src/machine/geometry.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { verify } from '../../src/main/verify/verify.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import { hypDestroy, hypInit, hypMap, hypUnmap } from '../../src/pgtable/hyp.ts';
import { HYP_PROT } from '../../src/pgtable/hyp-prot.ts';
import type { Pgtable } from '../../src/pgtable/pgtable.ts';
import { cpuOf, type World } from '../../src/workers/world.ts';
import { MixedMachine } from '../support/mixed-machine.ts';
import { must } from '../support/tiny-machine.ts';
import type { El2Ops } from '../pgtable/hyp-helpers.ts';
import { small } from './small.ts';

/** Of a test: it takes a while. */
const TIMEOUT_MS = 120_000;
const VA_BITS = 47;
const STEPS = 24;
/** Pages on both sides of the border of two blocks of 32 MiB. */
const BLOCK = 2 ** 25;
const PAGES = 8;

const FIRST: Shape = { machine: PLAIN_4K, ipaBits: 40 };
const features = { ...ARMV8_0, paBits: 52 };
const SECONDS: readonly (Shape & { readonly seeds: number })[] = [
  { machine: { pageShift: 16, lpa2: false, features }, ipaBits: 48, seeds: 20 },
  {
    machine: { pageShift: 16, lpa2: false, features: { ...features, fwb: true } },
    ipaBits: 52,
    seeds: 10,
  },
];

/** What the hypervisor maps and unmaps: single pages, and the block above them. */
class HypMapper {
  readonly geometry: Geometry = new Geometry(14);
  /** Physical address by virtual. */
  readonly mapped: Map<number, number> = new Map();
  pgt: Pgtable | null = null;
  unmaps = 0;
  readonly ops: El2Ops;
  readonly #seed: number;

  constructor(ops: El2Ops, seed: number) {
    this.ops = ops;
    this.#seed = seed;
  }

  *run(): Op<void> {
    const pgt = yield* hypInit(this.geometry, VA_BITS, this.ops);
    if (typeof pgt === 'string') throw new Error(pgt);
    this.pgt = pgt;
    for (let step = 0; step < STEPS; step++) {
      const random = mix(this.#seed * STEPS + step) >>> 0;
      const page = random % (PAGES + 1);
      const isBlock = page === PAGES;
      const va = isBlock ? 2 * BLOCK : BLOCK + (page - PAGES / 2) * this.geometry.pageBytes;
      yield* this.#toggle(pgt, va, isBlock ? BLOCK : this.geometry.pageBytes, random);
    }
  }

  *#toggle(pgt: Pgtable, va: number, size: number, random: number): Op<void> {
    if (this.mapped.delete(va)) {
      must((yield* hypUnmap(pgt, va, size)) === size, 'unmapped in part');
      this.unmaps++;
      return;
    }
    const phys = ((random % 1024) * BLOCK) as Phys;
    const request = { va, size, phys, prot: HYP_PROT.data, pages: this.ops };
    must((yield* hypMap(pgt, request)).outcome === 'ok', 'not mapped');
    this.mapped.set(va, phys);
  }

  /** Every leaf there is, by asking for each page and the block. */
  leaves(): [number, number][] {
    const { pgt, geometry } = this;
    if (pgt === null) throw new Error('no table');
    const pages = Array.from(
      { length: PAGES },
      (_, i) => BLOCK + (i - PAGES / 2) * geometry.pageBytes,
    );
    return [...pages, 2 * BLOCK].flatMap((va): [number, number][] => {
      const leaf = drive(getLeaf(pgt, va));
      if (typeof leaf === 'string') throw new Error(leaf);
      return leaf.entry.isValid() ? [[va, leaf.entry.address(geometry)]] : [];
    });
  }
}

/** What the CPUs of a VM have cached, and what of it is not a leaf of the VM's own table. */
function cachedBy(world: World, vmid: number): { count: number; foreign: string[] } {
  const pgt = drive(world.vm.pgt());
  if (pgt === null) throw new Error('no stage-2 table');
  let count = 0;
  const foreign: string[] = [];
  const check = (addr: number, level: Level, owner: number, lo: number, hi: number): void => {
    count++;
    const leaf = drive(getLeaf(pgt, addr));
    if (typeof leaf === 'string') throw new Error(leaf);
    const cached = new Descriptor(lo, hi).address(pgt.geometry);
    const isOwn =
      owner === vmid &&
      leaf.level === level &&
      leaf.entry.address(pgt.geometry) === cached &&
      world.memory.guest.contains(cached);
    if (!isOwn) foreign.push(`${addr.toString(16)} of VMID ${owner}`);
  };
  for (let vcpu = 0; vcpu < world.scenario.vcpus; vcpu++) cpuOf(world, vcpu).tlb.forEach(check);
  return { count, foreign };
}

test.each(SECONDS)(
  'a VM of 4K and 40 bits, one of 64K and $ipaBits bits, a hyp table of 16K: each holds what was done to it, in $seeds schedules',
  { timeout: TIMEOUT_MS },
  (second) => {
    const machine = new MixedMachine({
      first: reshaped(small('write-protect'), FIRST),
      second: reshaped(small('demand-paging'), second),
      hypPageBytes: 2 ** 14,
    });
    let unmaps = 0;
    for (let seed = 1; seed <= second.seeds; seed++) {
      const hyp = new HypMapper(machine.hypOps(), seed);
      machine.run(seed, () => hyp.run());
      const worlds = machine.worlds(0);
      const caches = worlds.map((world, i) => cachedBy(world, i + 1));
      const found = worlds.map((world) => verify([world]));
      expect({ seed, findings: found.flatMap(({ findings }) => findings) }).toEqual({
        seed,
        findings: [],
      });
      expect(found.map(({ referenceLeaves }) => referenceLeaves)).toEqual([8, 16]);
      expect(caches.map(({ foreign }) => foreign)).toEqual([[], []]);
      expect(caches.every(({ count }) => count > 0)).toBe(true);
      expect(hyp.leaves()).toEqual([...hyp.mapped].toSorted(([a], [b]) => a - b));
      drive(hypDestroy(hyp.pgt as Pgtable));
      expect(hyp.ops.left).toBe(32);
      unmaps += hyp.unmaps;
    }
    expect(unmaps).toBeGreaterThan(second.seeds);
  },
);
