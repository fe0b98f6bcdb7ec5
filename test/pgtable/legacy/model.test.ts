/** Random sequences of legacy operations against a model that knows leaves, no tables and no entries, for every shape of table. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { drive } from '../../../src/engine/explore.ts';
import type { Phys } from '../../../src/machine/address.ts';
import { legacyAge, legacyMkyoung, legacyTestAge } from '../../../src/pgtable/legacy/leaf.ts';
import { legacyDestroy } from '../../../src/pgtable/legacy/unmap.ts';
import { legacyWrprotect } from '../../../src/pgtable/legacy/wrprotect.ts';
import { Prot } from '../../../src/pgtable/stage2-prot.ts';
import { must } from '../../support/tiny-machine.ts';
import type { Leaf } from '../helpers.ts';
import { LegacyTable } from './legacy-table.ts';

const W = 0x80n;
const AF = 1n << 10n;
const XN = 1n << 54n;

/** Page shift, bits of IPA, levels of blocks. */
const SHAPES = [
  { name: '4K, two levels, four root pages', shift: 12, ipaBits: 32, blocks: [2] },
  { name: '4K, three levels', shift: 12, ipaBits: 40, blocks: [2, 1] },
  { name: '4K, four levels', shift: 12, ipaBits: 48, blocks: [2, 1] },
  { name: '16K, two levels', shift: 14, ipaBits: 36, blocks: [2] },
  { name: '16K, three levels', shift: 14, ipaBits: 47, blocks: [2] },
  { name: '64K, two levels', shift: 16, ipaBits: 42, blocks: [2] },
  { name: '64K, three levels', shift: 16, ipaBits: 48, blocks: [2] },
] as const;
type Shape = (typeof SHAPES)[number];

interface Step {
  readonly what: 'page' | 'block' | 'unmap' | 'wrprotect' | 'age' | 'young' | 'fault';
  /** Where: blocks of level 2 and pages from the border of two entries of a high level. */
  readonly block: number;
  readonly page: number;
  /** Pages, and blocks of level 2. */
  readonly size: readonly [number, number];
  readonly level: 1 | 2;
  readonly prot: number;
}

const stepArbitrary = ({ blocks }: Shape): fc.Arbitrary<Step> =>
  fc.record({
    what: fc.constantFrom<Step['what']>(
      'page',
      'page',
      'page',
      'block',
      'block',
      'fault',
      'unmap',
      'wrprotect',
      'age',
      'young',
    ),
    block: fc.integer({ min: -1, max: 1 }),
    page: fc.integer({ min: -2, max: 2 }),
    size: fc.constantFrom([1, 0], [2, 0], [5, 0], [0, 1], [1, 1], [0, 2]),
    level: fc.constantFrom(...blocks),
    prot: fc.integer({ min: 0, max: 7 }),
  });

class Model {
  readonly leaves = new Map<number, Leaf>();
  readonly #table: LegacyTable;

  constructor(table: LegacyTable) {
    this.#table = table;
  }

  in(addr: number, size: number): Leaf[] {
    return [...this.leaves.values()].filter(
      (leaf) => leaf.addr < addr + size && leaf.addr + this.#table.sizeOf(leaf.level) > addr,
    );
  }

  at(addr: number): Leaf | undefined {
    return this.in(addr, 1)[0];
  }

  remove(addr: number, size: number): void {
    for (const leaf of this.in(addr, size)) this.leaves.delete(leaf.addr);
  }

  /** In the place of all that it meets: a dissolved block goes as a whole. */
  put(addr: number, level: 1 | 2 | 3, value: bigint): void {
    this.remove(addr, this.#table.sizeOf(level));
    this.leaves.set(addr, { addr, level, value });
  }

  edit(leaf: Leaf, value: bigint): void {
    this.leaves.set(leaf.addr, { ...leaf, value });
  }

  all(): Leaf[] {
    return [...this.leaves.values()].toSorted((a, b) => a.addr - b.addr);
  }
}

function leafAt(table: LegacyTable, ipa: number): Leaf | undefined {
  const { leaves } = table.contents();
  return leaves.find(({ addr, level }) => addr <= ipa && ipa < addr + table.sizeOf(level));
}

/** The border of two entries of level 0 or 1, where the address space has one. */
function base(table: LegacyTable): number {
  const high = table.sizeOf(table.pgt.startLevel === 0 ? 0 : 1);
  return high < table.pgt.iaLimit ? high : 4 * table.sizeOf(2);
}

function isRefused(op: () => unknown): boolean {
  try {
    op();
  } catch (error) {
    return error instanceof Error && error.message.includes('in the way');
  }
  return false;
}

class Run {
  readonly table: LegacyTable;
  readonly model: Model;
  readonly #base: number;

  constructor({ shift, ipaBits }: Shape) {
    this.table = new LegacyTable({ shift, ipaBits });
    this.model = new Model(this.table);
    this.#base = base(this.table);
  }

  apply(step: Step): void {
    const { table } = this;
    const ipa = this.#base + step.block * table.sizeOf(2) + step.page * table.page;
    const size = step.size[0] * table.page + step.size[1] * table.sizeOf(2);
    this[step.what](ipa, size, step);
  }

  page(ipa: number, _size: number, { prot, level }: Step): void {
    const phys = ipa + level * this.table.page;
    must(this.table.setPte(ipa, phys, prot, { logging: true }) === 'ok', 'page');
    this.model.put(ipa, 3, this.table.leafOf(3, phys, prot).toBigInt());
  }

  /** Of memory that follows from the address: a block of other memory would be refused. */
  block(ipa: number, _size: number, { prot, level }: Step): void {
    const { table, model } = this;
    const bytes = table.sizeOf(level);
    const addr = Math.floor(ipa / bytes) * bytes;
    const phys = addr + 4 * table.sizeOf(1);
    const around = model.at(addr);
    if (around !== undefined && around.level < level) {
      must(
        isRefused(() => table.setHuge(ipa, level, phys, prot)),
        'a block inside a larger one',
      );
      return;
    }
    must(table.setHuge(ipa, level, phys, prot) === 'ok', 'block');
    model.put(addr, level, table.leafOf(level, phys, prot).toBigInt());
  }

  /** A write permission fault while logging: X is kept, of a block too. */
  fault(ipa: number): void {
    const { table, model } = this;
    const old = model.at(ipa);
    const keepsX = old !== undefined && (old.value & XN) === 0n;
    const frame = (ipa + table.page) as Phys;
    must(table.fault({ ipa, frame, isPermission: true, logging: true }) === 'ok', 'fault');
    const prot = Prot.r | Prot.w | (keepsX ? Prot.x : 0);
    model.put(ipa, 3, table.leafOf(3, frame, prot).toBigInt());
  }

  unmap(ipa: number, size: number): void {
    this.table.unmap(ipa, size);
    this.model.remove(ipa, size);
  }

  wrprotect(ipa: number, size: number): void {
    drive(legacyWrprotect(this.table.pgt, ipa, size));
    for (const leaf of this.model.in(ipa, size)) this.model.edit(leaf, leaf.value & ~W);
  }

  age(ipa: number): void {
    const { pgt } = this.table;
    const leaf = this.model.at(ipa);
    const isYoung = leaf !== undefined && (leaf.value & AF) !== 0n;
    must(drive(legacyTestAge(pgt, ipa)) === isYoung, 'test age');
    must(drive(legacyAge(pgt, ipa)) === isYoung, 'age');
    if (leaf !== undefined) this.model.edit(leaf, leaf.value & ~AF);
  }

  young(ipa: number): void {
    const leaf = this.model.at(ipa);
    const before = drive(legacyMkyoung(this.table.pgt, ipa)).toBigInt();
    must(before === (leaf?.value ?? 0n), 'mkyoung');
    if (leaf !== undefined) this.model.edit(leaf, leaf.value | AF);
  }
}

test.each(SHAPES)(
  '$name: the table holds what the model holds, and gives back every page',
  (shape) => {
    fc.assert(
      fc.property(fc.array(stepArbitrary(shape), { minLength: 1, maxLength: 10 }), (steps) => {
        const run = new Run(shape);
        const { table, model } = run;
        // What is invalidated is no leaf any more, and no new one yet.
        table.ops.onFlush = (ipa) => {
          must(leafAt(table, ipa) === undefined, `a leaf at ${ipa.toString(16)} during its TLBI`);
          return '';
        };
        for (const step of steps) {
          run.apply(step);
          expect(table.leaves()).toEqual(model.all());
        }
        drive(legacyDestroy(table.pgt));
        expect(table.inUse()).toBe(0);
      }),
      { seed: 3, numRuns: 25 },
    );
  },
);
