/** Random sequences of operations on tables of any shape, against a model that knows leaves only. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { drive } from '../../src/engine/explore.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import {
  stage2IsYoung,
  stage2Mkold,
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2Wrprotect,
} from '../../src/pgtable/stage2-attributes.ts';
import { stage2Flush } from '../../src/pgtable/stage2-flush.ts';
import { stage2Destroy } from '../../src/pgtable/stage2-init.ts';
import { Prot } from '../../src/pgtable/stage2-prot.ts';
import { stage2Unmap } from '../../src/pgtable/stage2-unmap.ts';
import { must } from '../support/tiny-machine.ts';
import { LeafModel } from './leaf-model.ts';
import {
  ShapedTable,
  addressBits,
  leafLevels,
  sizeOf,
  tableShapes,
  type ShapedLeaf,
  type TableShape,
} from './shaped-table.ts';

const WHATS = [
  'map',
  'map',
  'map',
  'map',
  'unmap',
  'wrprotect',
  'flush',
  'relax',
  'mkold',
  'mkyoung',
  'isYoung',
  'getLeaf',
] as const;

/** A place within four of the largest blocks: some blocks of a level from the start, and some pages from there. */
interface Place {
  readonly level: number;
  readonly blocks: number;
  readonly pages: number;
}

interface Command {
  readonly what: (typeof WHATS)[number];
  readonly from: Place;
  readonly to: Place;
  /** Alignment of IPA to physical address: to every block, to blocks of level 2, or to pages only. */
  readonly congruent: 'all' | 'level2' | 'page';
  readonly prot: number;
  /** Bytes into the first page: rounded away. */
  readonly inside: number;
}

/** Where in the IPA space and in the physical one the operations are: shares of what there is. */
interface Windows {
  readonly ipa: number;
  readonly phys: number;
}

const place: fc.Arbitrary<Place> = fc.record({
  level: fc.integer({ min: 1, max: 2 }),
  blocks: fc.integer({ min: 0, max: 3 }),
  pages: fc.integer({ min: -3, max: 3 }),
});

const prots: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 0, max: 7 }),
  fc.integer({ min: 0, max: 7 }),
  fc.constantFrom(Prot.device | Prot.r | Prot.w, Prot.normalNC | Prot.r, Prot.r | Prot.ux),
  fc.integer({ min: 0, max: 127 }),
);

const command: fc.Arbitrary<Command> = fc.record({
  what: fc.constantFrom(...WHATS),
  from: place,
  to: place,
  congruent: fc.constantFrom<Command['congruent']>('all', 'all', 'level2', 'page'),
  prot: prots,
  inside: fc.constantFrom(0, 0, 0x123),
});

/** Leaves that a range may become at most, where it cannot become larger ones. */
const FEW = 24;

/** A table and its model. */
class Pair {
  readonly table: ShapedTable;
  readonly model: LeafModel;
  readonly #shape: TableShape;
  readonly #bytes: number;
  readonly #ipa: number;
  readonly #phys: number;

  constructor(shape: TableShape, windows: Windows) {
    this.table = new ShapedTable(shape);
    this.model = new LeafModel(shape);
    this.#shape = shape;
    const [largest = 3] = leafLevels(shape);
    const block = sizeOf(shape, largest);
    this.#bytes = 4 * block;
    this.#ipa = windowIn(2 ** shape.ipaBits, this.#bytes, block, windows.ipa);
    // Two blocks more than the operations need: an address is up to a block off.
    this.#phys = windowIn(2 ** addressBits(shape), this.#bytes + 2 * block, block, windows.phys);
  }

  /** Applies a command to both. */
  apply(command: Command): void {
    const { what, inside, prot } = command;
    const { pgt } = this.table;
    const { addr, size, phys } = this.#rangeOf(command);
    const at = addr + inside;
    this.table.ops.log.length = 0;
    if (what === 'map') {
      const isLegal = this.model.map(addr, size, phys, prot);
      expect(this.table.map(at, size, phys, prot)).toBe(isLegal ? 'ok' : 'invalid');
    } else if (what === 'unmap') {
      const cleans = this.model.unmap(addr, size);
      expect(drive(stage2Unmap(pgt, at, size))).toBe('ok');
      expect(this.table.logged('clean')).toEqual(cleans);
    } else if (what === 'flush') {
      expect(drive(stage2Flush(pgt, at, size))).toBe('ok');
      expect(this.table.logged('clean')).toEqual(this.model.flush(addr, size));
    } else if (what === 'wrprotect') {
      this.model.wrprotect(addr, size);
      expect(drive(stage2Wrprotect(pgt, at, size))).toBe('ok');
    } else if (what === 'relax') {
      const isLegal = this.model.relax(addr, prot);
      expect(drive(stage2RelaxPerms(pgt, at, prot))).toBe(isLegal ? 'ok' : 'invalid');
    } else this.#applyToLeaf(what, addr, at);
  }

  #applyToLeaf(what: 'mkold' | 'mkyoung' | 'isYoung' | 'getLeaf', addr: number, at: number): void {
    const { pgt } = this.table;
    if (what === 'isYoung') {
      expect(drive(stage2IsYoung(pgt, at))).toBe(this.model.isYoung(addr));
    } else if (what === 'getLeaf') {
      const leaf = drive(getLeaf(pgt, at));
      if (typeof leaf === 'string') throw new Error(leaf);
      const { entry, level } = leaf;
      const found = entry.isValid() ? { value: entry.toBigInt(), level } : null;
      expect(found).toEqual(this.model.leaf(addr));
    } else {
      const op = what === 'mkold' ? stage2Mkold : stage2Mkyoung;
      const before = this.model.age(addr, what === 'mkyoung');
      expect(drive(op(pgt, at)).toBigInt()).toBe(before);
    }
  }

  /** At each TLBI of a break the entry is invalid. */
  watch({ what }: Command): void {
    const isBroken = what === 'map' || what === 'unmap';
    this.table.ops.onFlush = (ipa) => {
      const isValid = ipa >= 0 && (this.table.lookup(ipa).value & 1n) !== 0n;
      must(!(isBroken && isValid), `flushed before it was broken: ${ipa.toString(16)}`);
      return '';
    };
  }

  unmapAll(): void {
    this.table.ops.onFlush = () => '';
    expect(drive(stage2Unmap(this.table.pgt, 0, this.table.pgt.iaLimit))).toBe('ok');
  }

  #rangeOf({ from, to, congruent }: Command): { addr: number; size: number; phys: number } {
    const { page } = this.table;
    const [first, last] = [this.#offsetOf(from), this.#offsetOf(to)].toSorted((a, b) => a - b);
    const offset = first ?? 0;
    const level2 = sizeOf(this.#shape, 2);
    const unit = { all: 0, level2, page }[congruent];
    const atMost = { all: Infinity, level2: FEW * level2, page: FEW * page }[congruent];
    const size = Math.min((last ?? 0) - offset, atMost);
    return { addr: this.#ipa + offset, size, phys: this.#phys + offset + unit };
  }

  #offsetOf({ level, blocks, pages }: Place): number {
    const offset = blocks * sizeOf(this.#shape, Math.max(level, leafLevels(this.#shape)[0] ?? 3));
    return Math.min(Math.max(0, offset + pages * this.table.page), this.#bytes);
  }
}

/** Leaves as a text: thousands of them are compared at once. */
function words(leaves: readonly ShapedLeaf[]): string {
  return leaves.map(({ addr, level, value }) => `${addr} ${level} ${value}`).join('\n');
}

/** Begin of a window of `bytes`, aligned to `block`, at a share of all that can be; 1 is the end of the space. */
function windowIn(limit: number, bytes: number, block: number, share: number): number {
  return Math.floor(((limit - bytes) / block) * share) * block;
}

const shares = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));

test(
  'a table of any shape holds what was mapped, counts it, and returns its pages',
  { timeout: 120_000 },
  () => {
    const windows = fc.record({ ipa: shares, phys: shares });
    const commands = fc.array(command, { minLength: 1, maxLength: 14 });
    fc.assert(
      fc.property(tableShapes, windows, commands, (shape, where, steps) => {
        const pair = new Pair(shape, where);
        const { table, model } = pair;
        for (const step of steps) {
          pair.watch(step);
          pair.apply(step);
          expect(words(table.leaves())).toBe(words(model.all()));
        }
        const digest = drive(digestTable(table.pgt)).hex();
        const isEmptied = steps.length % 2 === 0;
        if (isEmptied) {
          pair.unmapAll();
          expect(table.leaves()).toEqual([]);
          expect(table.used()).toBe(table.pgt.pgdPages);
        }
        drive(stage2Destroy(table.pgt));
        expect(table.used()).toBe(0);
        // The same leaves without the history: the same digest.
        const fresh = new ShapedTable(shape);
        for (const leaf of model.all().toReversed()) fresh.plant(leaf);
        expect(drive(digestTable(fresh.pgt)).hex()).toBe(digest);
      }),
      { seed: 9, numRuns: 40 },
    );
  },
);
