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
  'unmap',
  'wrprotect',
  'flush',
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
  blocks: fc.constantFrom(0, 0, 0, 1, 1, 2, 3),
  pages: fc.constantFrom(0, 0, 0, 0, 1, 1, -1, 2, -2),
});

const prots: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 0, max: 7 }),
  fc.integer({ min: 0, max: 7 }),
  fc.constantFrom(Prot.device | Prot.r | Prot.w, Prot.normalNC | Prot.r),
  fc.constantFrom(Prot.r | Prot.ux, Prot.r | Prot.px),
  fc.integer({ min: 0, max: 127 }),
);

const commands: fc.Arbitrary<Command> = fc.record({
  what: fc.constantFrom(...WHATS),
  from: place,
  to: place,
  congruent: fc.constantFrom<Command['congruent']>('all', 'all', 'level2', 'page'),
  prot: prots,
  inside: fc.constantFrom(0, 0, 0x123),
});

/** Leaves that a range may become at most where its addresses keep it from larger ones: of 4K pages all that a block would hold. */
const leavesMax = ({ pageShift }: TableShape): number => (pageShift === 12 ? 514 : 24);

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

  /** Applies a step to both; gives what each of them says. */
  apply(step: Command): { readonly found: string; readonly wanted: string } {
    const { addr, size, phys } = this.#rangeOf(step);
    const at = addr + step.inside;
    this.table.ops.log.length = 0;
    const wanted = this.#applyToModel(step, addr, size, phys);
    const found = this.#applyToTable(step, at, size, phys);
    const cleans = step.what === 'map' ? [] : this.table.logged('clean');
    this.table.ops.onFlush = () => '';
    return { found: [found, ...cleans].join(' '), wanted };
  }

  #applyToTable({ what, prot }: Command, at: number, size: number, phys: number): string {
    const { table } = this;
    const { pgt } = table;
    if (what === 'map') return table.map(at, size, phys, prot);
    if (what === 'unmap') return drive(stage2Unmap(pgt, at, size));
    if (what === 'flush') return drive(stage2Flush(pgt, at, size));
    if (what === 'wrprotect') return drive(stage2Wrprotect(pgt, at, size));
    if (what === 'relax') return drive(stage2RelaxPerms(pgt, at, prot));
    if (what === 'mkold') return `${drive(stage2Mkold(pgt, at)).toBigInt()}`;
    if (what === 'mkyoung') return `${drive(stage2Mkyoung(pgt, at)).toBigInt()}`;
    if (what === 'isYoung') return `${drive(stage2IsYoung(pgt, at))}`;
    const leaf = drive(getLeaf(pgt, at));
    if (typeof leaf === 'string') return leaf;
    return leaf.entry.isValid() ? `${leaf.entry.toBigInt()} at ${leaf.level}` : 'nothing';
  }

  #applyToModel({ what, prot }: Command, addr: number, size: number, phys: number): string {
    const { model } = this;
    if (what === 'map') return model.map(addr, size, phys, prot) ? 'ok' : 'invalid';
    if (what === 'unmap') return ['ok', ...model.unmap(addr, size)].join(' ');
    if (what === 'flush') return ['ok', ...model.flush(addr, size)].join(' ');
    if (what === 'relax') return model.relax(addr, prot) ? 'ok' : 'invalid';
    if (what === 'mkold' || what === 'mkyoung') return `${model.age(addr, what === 'mkyoung')}`;
    if (what === 'isYoung') return `${model.isYoung(addr)}`;
    if (what === 'getLeaf') return model.leaf(addr);
    model.wrprotect(addr, size);
    return 'ok';
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

  /** Unmaps the whole IPA space; gives the pages that are left besides the root. */
  unmapAll(): number {
    const { table } = this;
    must(drive(stage2Unmap(table.pgt, 0, table.pgt.iaLimit)) === 'ok', 'not unmapped');
    must(table.leaves().length === 0, 'leaves are left');
    return table.used() - table.pgt.pgdPages;
  }

  #rangeOf({ from, to, congruent }: Command): { addr: number; size: number; phys: number } {
    const { page } = this.table;
    const [first, last] = [this.#offsetOf(from), this.#offsetOf(to)].toSorted((a, b) => a - b);
    const offset = first ?? 0;
    const level2 = sizeOf(this.#shape, 2);
    const unit = { all: 0, level2, page }[congruent];
    const atMost = unit === 0 ? Infinity : leavesMax(this.#shape) * unit;
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
    const sequences = fc.array(commands, { minLength: 1, maxLength: 14 });
    fc.assert(
      fc.property(tableShapes, windows, sequences, (shape, where, steps) => {
        const pair = new Pair(shape, where);
        const { table, model } = pair;
        for (const step of steps) {
          pair.watch(step);
          const { found, wanted } = pair.apply(step);
          expect(found).toBe(wanted);
          expect(words(table.leaves())).toBe(words(model.all()));
        }
        const digest = drive(digestTable(table.pgt)).hex();
        // Half of the tables are destroyed with all they hold.
        expect(steps.length % 2 === 0 ? pair.unmapAll() : 0).toBe(0);
        drive(stage2Destroy(table.pgt));
        expect(table.used()).toBe(0);
        // The same leaves without the history: the same digest.
        const fresh = new ShapedTable(shape);
        for (const leaf of model.all().toReversed()) fresh.plant(leaf);
        expect(drive(digestTable(fresh.pgt)).hex()).toBe(digest);
      }),
      { seed: 9, numRuns: 12 },
    );
  },
);
