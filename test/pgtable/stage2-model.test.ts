/** Random sequences of operations against a model that knows pages and leaves, no tables and no entries. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import {
  stage2Mkold,
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2Wrprotect,
} from '../../src/pgtable/stage2-attributes.ts';
import { stage2Destroy } from '../../src/pgtable/stage2-init.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { must } from '../support/tiny-machine.ts';
import { M2, PAGE, TestTable, type Leaf } from './helpers.ts';

/** Three blocks' worth of addresses, across the seam of two entries of level 1. */
const BASE = 0x3fe0_0000;
const PAGES = 3 * 512;
const R = 0x40n;
const W = 0x80n;
const AF = 1n << 10n;
const XN = 1n << 54n;

/** A leaf of the model: one object for all pages of a block. */
interface ModelLeaf {
  readonly addr: number;
  readonly level: number;
  value: bigint;
}

class Model {
  readonly pages = new Map<number, ModelLeaf>();

  map(addr: number, size: number, phys: number, prot: number): void {
    for (let at = addr; at < addr + size;) {
      const to = phys + (at - addr);
      const isBlock = at % M2 === 0 && to % M2 === 0 && addr + size - at >= M2;
      const bytes = isBlock ? M2 : PAGE;
      const leaf = { addr: at, level: isBlock ? 2 : 3, value: valueOf(to, prot, isBlock) };
      // A block that is asked for in part goes as a whole.
      this.unmap(at, bytes, isBlock ? 3 : 2);
      for (let page = at; page < at + bytes; page += PAGE) this.pages.set(page, leaf);
      at += bytes;
    }
  }

  /** Removes what meets the range; of blocks and pages only those of `level`, if it is given. */
  unmap(addr: number, size: number, level?: number): void {
    for (const leaf of this.leavesIn(addr, size)) {
      if (level !== undefined && leaf.level !== level) continue;
      const bytes = leaf.level === 2 ? M2 : PAGE;
      for (let page = leaf.addr; page < leaf.addr + bytes; page += PAGE) this.pages.delete(page);
    }
  }

  leavesIn(addr: number, size: number): Set<ModelLeaf> {
    const found = new Set<ModelLeaf>();
    for (let page = addr; page < addr + size; page += PAGE) {
      const leaf = this.pages.get(page);
      if (leaf !== undefined) found.add(leaf);
    }
    return found;
  }

  relax(addr: number, prot: number): void {
    const leaf = this.pages.get(addr);
    if (leaf === undefined) return;
    leaf.value |= valueOf(0, prot, true) & (R | W);
    if ((prot & Prot.x) !== 0) leaf.value &= ~XN;
  }

  /** Sets the access flag of a leaf; gives the leaf as it was. */
  age(addr: number, isYoung: boolean): bigint {
    const leaf = this.pages.get(addr);
    if (leaf === undefined) return 0n;
    const before = leaf.value;
    leaf.value = isYoung ? before | AF : before & ~AF;
    return before;
  }

  all(): Leaf[] {
    return [...new Set(this.pages.values())]
      .map(({ addr, level, value }) => ({ addr, level, value }))
      .toSorted((a, b) => a.addr - b.addr);
  }
}

function valueOf(phys: number, prot: number, isBlock: boolean): bigint {
  const base = BigInt(phys) | 0x73fn | (isBlock ? 0n : 2n);
  const type = isBlock ? base & ~2n : base;
  return (
    type |
    ((prot & Prot.r) === 0 ? 0n : R) |
    ((prot & Prot.w) === 0 ? 0n : W) |
    ((prot & Prot.x) === 0 ? XN : 0n)
  );
}

interface Command {
  readonly what: 'map' | 'unmap' | 'wrprotect' | 'relax' | 'mkold' | 'mkyoung';
  readonly page: number;
  readonly pages: number;
  readonly aligned: boolean;
  readonly prot: number;
  /** Bytes into the first page: rounded away. */
  readonly inside: number;
}

const command: fc.Arbitrary<Command> = fc
  .record({
    what: fc.constantFrom<Command['what']>(
      'map',
      'map',
      'map',
      'unmap',
      'wrprotect',
      'relax',
      'mkold',
      'mkyoung',
    ),
    page: fc.oneof(
      fc.constantFrom(0, 1, 511, 512, 513, 1023, 1024),
      fc.integer({ min: 0, max: PAGES - 1 }),
    ),
    pages: fc.oneof(fc.constantFrom(1, 2, 512, 513, 1024), fc.integer({ min: 0, max: PAGES })),
    aligned: fc.boolean(),
    prot: fc.integer({ min: 0, max: 7 }),
    inside: fc.constantFrom(0, 0, 0x123),
  })
  .map((from) => ({ ...from, pages: Math.min(from.pages, PAGES - from.page) }));

/** Applies a step to both; gives the table's outcome. */
function apply(table: TestTable, model: Model, step: Command): Outcome {
  const { what, pages, prot, inside } = step;
  const addr = BASE + step.page * PAGE;
  const size = pages * PAGE;
  // Congruent modulo a block, or a page off.
  const phys = 0x8000_0000 + step.page * PAGE + (step.aligned ? 0 : PAGE);
  if (what === 'map') {
    model.map(addr, size, phys, prot);
    return table.map(addr + inside, size, phys, prot);
  }
  if (what === 'unmap') {
    model.unmap(addr, size);
    return table.unmap(addr + inside, size);
  }
  if (what === 'wrprotect') {
    for (const leaf of model.leavesIn(addr, size)) leaf.value &= ~W;
    return drive(stage2Wrprotect(table.pgt, addr + inside, size));
  }
  if (what === 'mkold' || what === 'mkyoung') {
    const op = what === 'mkold' ? stage2Mkold : stage2Mkyoung;
    const before = drive(op(table.pgt, addr + inside)).toBigInt();
    must(before === model.age(addr, what === 'mkyoung'), `${what} gave ${before.toString(16)}`);
    return 'ok';
  }
  model.relax(addr, prot);
  return drive(stage2RelaxPerms(table.pgt, addr + inside, prot));
}

/** At each TLBI of a break the entry is invalid. */
function watch(table: TestTable, step: Command): void {
  const isBroken = step.what === 'map' || step.what === 'unmap';
  table.ops.onFlush = (ipa) => {
    const isValid = ipa >= 0 && (table.lookup(ipa).value & 1n) !== 0n;
    must(!(isBroken && isValid), `flushed before it was broken: ${ipa.toString(16)}`);
    return '';
  };
}

test('a table holds what was mapped, counts it, and returns its pages', () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 1, maxLength: 12 }), (steps) => {
      const table = new TestTable({ tableFrames: 16, cachePages: Infinity });
      const model = new Model();
      for (const step of steps) {
        watch(table, step);
        expect(apply(table, model, step)).toBe('ok');
        expect(table.contents().leaves).toEqual(model.all());
        table.checkPages();
      }
      const digest = drive(digestTable(table.pgt)).hex();
      table.ops.onFlush = () => '';
      const leaves = model.all();
      const isEmptied = steps.length % 2 === 0;
      if (isEmptied) table.unmap(BASE, PAGES * PAGE);
      expect(table.contents().leaves).toEqual(isEmptied ? [] : leaves);
      expect(table.checkPages() === 2).toBe(isEmptied || leaves.length === 0);
      drive(stage2Destroy(table.pgt));
      const { used, free } = table.zone.accounts();
      expect(free).toBe(used);
      // The same leaves without the history: the same digest.
      const fresh = new TestTable({ tableFrames: 16 });
      for (const leaf of leaves.toReversed()) plant(fresh, leaf);
      expect(drive(digestTable(fresh.pgt)).hex()).toBe(digest);
    }),
    { seed: 9, numRuns: 60 },
  );
});

function plant(table: TestTable, leaf: Leaf): void {
  table.plant(leaf.addr, leaf.level === 2 ? 2 : 3, leaf.value);
}
