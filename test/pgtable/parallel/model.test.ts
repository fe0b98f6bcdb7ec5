/** Random sequences of operations over every granule against a model that knows leaves, no tables: what each step gives, and what is left. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import {
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2TestClearYoung,
  stage2Wrprotect,
} from '../../../src/pgtable/parallel/attributes.ts';
import { stage2SetOwner } from '../../../src/pgtable/parallel/map.ts';
import { stage2Split } from '../../../src/pgtable/parallel/split.ts';
import { stage2Destroy } from '../../../src/pgtable/parallel/unlinked.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { WalkFlag } from '../../../src/pgtable/walker.ts';
import { FAULT, ParallelTable, type Entry } from './helpers.ts';

const R = 0x40n;
const W = 0x80n;
const AF = 0x400n;
const XN = 1n << 54n;
const OWNED = 4n;
/** What the skip filter looks past. */
const PERMISSIONS = R | W | XN | (1n << 53n);

/** A leaf or an owner of the model. */
interface Mapped {
  readonly addr: number;
  readonly bytes: number;
  value: bigint;
}

class Model {
  /** By page: one object for all pages of a block. */
  readonly #pages = new Map<number, Mapped>();
  readonly #page: number;
  readonly #block: number;

  constructor(page: number, block: number) {
    this.#page = page;
    this.#block = block;
  }

  in(addr: number, size: number): Set<Mapped> {
    const found = new Set<Mapped>();
    for (let at = addr; at < addr + size; at += this.#page) {
      const one = this.#pages.get(at);
      if (one !== undefined) found.add(one);
    }
    return found;
  }

  unmap(addr: number, size: number): void {
    for (const one of this.in(addr, size)) {
      for (let at = one.addr; at < one.addr + one.bytes; at += this.#page) this.#pages.delete(at);
    }
  }

  #put(addr: number, bytes: number, value: bigint): void {
    const one = { addr, bytes, value };
    for (let at = addr; at < addr + bytes; at += this.#page) this.#pages.set(at, one);
  }

  map(addr: number, size: number, phys: number, prot: number, flags: number): string {
    for (let at = addr; at < addr + size;) {
      const to = phys + (at - addr);
      const block = this.#block;
      const isBlock = at % block === 0 && to % block === 0 && addr + size - at >= block;
      const bytes = isBlock ? block : this.#page;
      const value = leafValue(to, prot, isBlock);
      const [old] = this.in(at, bytes);
      const isSame = old?.bytes === bytes && ((old.value ^ value) & ~PERMISSIONS) === 0n;
      if (isSame && (flags & WalkFlag.handleFault) !== 0) return 'again';
      if (!isSame) {
        this.unmap(at, bytes);
        this.#put(at, bytes, value);
      }
      at += bytes;
    }
    return 'ok';
  }

  own(addr: number, size: number, owner: number): void {
    this.unmap(addr, size);
    if (owner === 0) return;
    for (let at = addr; at < addr + size; at += this.#page) this.#put(at, this.#page, OWNED);
  }

  split(addr: number, size: number): void {
    for (const block of this.in(addr, size)) {
      if (block.bytes === this.#page) continue;
      this.unmap(block.addr, block.bytes);
      for (let at = 0; at < block.bytes; at += this.#page) {
        const value = (block.value | AF | 2n) + BigInt(at);
        this.#put(block.addr + at, this.#page, value);
      }
    }
  }

  leaf(addr: number): Mapped | undefined {
    return this.leaves(addr, 1)[0];
  }

  leaves(addr: number, size: number): Mapped[] {
    return [...this.in(addr, size)].filter(({ value }) => (value & 1n) === 1n);
  }

  entries(): Entry[] {
    return [...new Set(this.#pages.values())]
      .map(({ addr, bytes, value }) => ({ addr, level: bytes === this.#page ? 3 : 2, value }))
      .toSorted((a, b) => a.addr - b.addr);
  }
}

function leafValue(phys: number, prot: number, isBlock: boolean): bigint {
  return (
    BigInt(phys) |
    (isBlock ? 0x73dn : 0x73fn) |
    ((prot & Prot.r) === 0 ? 0n : R) |
    ((prot & Prot.w) === 0 ? 0n : W) |
    ((prot & Prot.x) === 0 ? XN : 0n)
  );
}

const WHAT = [
  'map',
  'map',
  'map',
  'mapAll',
  'unmap',
  'own',
  'wrprotect',
  'relax',
  'mkyoung',
  'age',
  'split',
] as const;

interface Step {
  readonly what: (typeof WHAT)[number];
  /** Pages from the beginning of the range of the test. */
  readonly first: number;
  readonly pages: number;
  /** Pages between input and output address: 0 lets blocks be used. */
  readonly off: number;
  readonly prot: number;
  readonly isShared: boolean;
}

/** Three blocks, with `entries` pages each. */
function stepOf(entries: number): fc.Arbitrary<Step> {
  const near = fc
    .tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: -2, max: 2 }))
    .map(([block, page]) => Math.max(0, block * entries + page));
  return fc
    .record({
      what: fc.constantFrom(...WHAT),
      first: near,
      pages: fc.constantFrom(1, 1, 2, 3, entries, entries + 1, 2 * entries),
      off: fc.constantFrom(0, 0, 1),
      prot: fc.integer({ min: 0, max: 7 }),
      isShared: fc.boolean(),
    })
    .map((step) => ({ ...step, pages: Math.min(step.pages, 3 * entries - step.first) }));
}

/** A table and its model, changed alike. */
class Pair {
  readonly table: ParallelTable;
  readonly model: Model;
  readonly base: number;

  constructor({ shift, ipaBits }: { readonly shift: number; readonly ipaBits: number }) {
    this.table = new ParallelTable({ shift, ipaBits });
    const block = this.table.sizeOf(2);
    this.model = new Model(this.table.page, block);
    // The first block is the last of its table.
    this.base = this.table.sizeOf(1) - block;
  }

  /** What the table and the model say to a step. */
  apply(step: Step): readonly [unknown, unknown] {
    const ipa = this.base + step.first * this.table.page;
    const size = step.pages * this.table.page;
    const flags = step.isShared ? FAULT : WalkFlag.handleFault;
    return APPLY[step.what](this, { ...step, ipa, size, flags });
  }
}

interface Arguments extends Step {
  readonly ipa: number;
  readonly size: number;
  /** Of a fault. */
  readonly flags: number;
}

function map({ table, model }: Pair, step: Arguments, flags: number): readonly [unknown, unknown] {
  const { ipa, size, prot } = step;
  const phys = ipa + 4 * table.sizeOf(2) + step.off * table.page;
  const expected = model.map(ipa, size, phys, prot, flags);
  return [table.map({ ipa, size, phys, prot, flags }), expected];
}

const APPLY: Record<Step['what'], (pair: Pair, step: Arguments) => readonly [unknown, unknown]> = {
  map: (pair, step) => map(pair, step, step.flags),
  mapAll: (pair, step) => map(pair, step, step.flags & WalkFlag.shared),
  unmap({ table, model }, { ipa, size }) {
    model.unmap(ipa, size);
    return [table.unmap(ipa, size), 'ok'];
  },
  own({ table, model }, { ipa, size, prot }) {
    const { pgt, cache } = table;
    const owner = prot & 1;
    model.own(ipa, size, owner);
    return [drive(stage2SetOwner(pgt, { ipa, size, owner, cache })), 'ok'];
  },
  wrprotect({ table, model }, { ipa, size }) {
    for (const leaf of model.leaves(ipa, size)) leaf.value &= ~W;
    return [drive(stage2Wrprotect(table.pgt, ipa, size)), 'ok'];
  },
  relax({ table, model }, { ipa, prot, flags }) {
    const given = drive(stage2RelaxPerms(table.pgt, { ipa, prot, flags }));
    const leaf = model.leaf(ipa);
    if (leaf === undefined) return [given, 'again'];
    leaf.value |= leafValue(0, prot, true) & (R | W);
    if ((prot & Prot.x) !== 0) leaf.value &= ~XN;
    return [given, 'ok'];
  },
  mkyoung({ table, model }, { ipa, flags }) {
    const given = drive(stage2Mkyoung(table.pgt, ipa, flags)).toBigInt();
    const leaf = model.leaf(ipa);
    if (leaf === undefined) return [given, 0n];
    const before = leaf.value;
    leaf.value |= AF;
    return [given, before];
  },
  age({ table, model }, { ipa, size, prot }) {
    const leaves = model.leaves(ipa, size);
    const isYoung = leaves.some(({ value }) => (value & AF) !== 0n);
    const mkold = (prot & 1) !== 0;
    if (mkold) for (const leaf of leaves) leaf.value &= ~AF;
    return [drive(stage2TestClearYoung(table.pgt, { ipa, size, mkold })), isYoung];
  },
  split({ table, model }, { ipa, size, flags }) {
    const { pgt, cache } = table;
    model.split(ipa, size);
    return [drive(stage2Split(pgt, { ipa, size, cache, flags })), 'ok'];
  },
};

/** Many entries are slow to compare as objects. */
function firstDifference(left: readonly Entry[], right: readonly Entry[]): unknown {
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [a, b] = [left[i], right[i]];
    if (a?.addr !== b?.addr || a?.level !== b?.level || a?.value !== b?.value) return [a, b];
  }
  return null;
}

describe.each([
  { name: '4K', shift: 12, ipaBits: 40, runs: 60 },
  { name: '16K', shift: 14, ipaBits: 42, runs: 20 },
  { name: '64K', shift: 16, ipaBits: 48, runs: 8 },
])('$name', ({ runs, ...granule }) => {
  test('holds what the model holds after each step, counts it, and returns its pages', () => {
    const entries = 2 ** (granule.shift - 3);
    fc.assert(
      fc.property(fc.array(stepOf(entries), { minLength: 1, maxLength: 10 }), (steps) => {
        const both = new Pair(granule);
        const { table, model } = both;
        for (const step of steps) {
          const [given, expected] = both.apply(step);
          expect(given).toBe(expected);
          expect(firstDifference(table.entries(), model.entries())).toBeNull();
        }
        const { pgt } = table;
        const isEmptied = steps.length % 2 === 0;
        if (isEmptied) table.unmap(both.base, 3 * table.sizeOf(2));
        expect(table.entries().length === 0).toBe(isEmptied || model.entries().length === 0);
        expect(isEmptied && table.pagesInUse() !== pgt.pgdPages).toBe(false);
        drive(stage2Destroy(pgt));
        expect(table.pagesInUse()).toBe(0);
      }),
      { seed: 12, numRuns: runs },
    );
  });
});
