/** Walks with any flags over random trees of any shape, by visitors that change them, against a recursion that has no cursor. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventKind } from '../../src/engine/events.ts';
import { Order, type Op, type Word } from '../../src/engine/explore.ts';
import { Descriptor, storeDescriptor } from '../../src/machine/descriptor.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import { Visit, walk, type VisitContext, type Visitor } from '../../src/pgtable/walker.ts';
import { must } from '../support/tiny-machine.ts';
import {
  ShapedTable,
  foldedAddress,
  leafLevels,
  sizeOf,
  tableShapes,
  type TableShape,
} from './shaped-table.ts';
import { WalkModel, type Answer, type ModelVisit, type Node, type Reason } from './walk-model.ts';

const REASONS: readonly (readonly [Reason, Visit])[] = [
  ['leaf', Visit.leaf],
  ['pre', Visit.tablePre],
  ['post', Visit.tablePost],
];
/** Tables that one visitor installs at most. */
const INSTALLS_MAX = 2;
/** A leaf without an address: the walker follows none. */
const PAGE_VALUE = 0x7ffn;
const BLOCK_VALUE = 0x7fdn;

type Action = 'none' | 'install' | 'break';

interface Planted {
  /** Of 4 of the largest entries of a leaf: where. */
  readonly share: number;
  readonly level: number;
  readonly isStale: boolean;
}

interface Walked {
  readonly share: number;
  /** The range: so many entries of a level, and some pages more or less. */
  readonly level: number;
  readonly entries: number;
  readonly pages: number;
  readonly inside: number;
  readonly flags: number;
  /** What the visitor does at its n-th visit, over and over. */
  readonly actions: readonly Action[];
  /** The visit that ends the walk. */
  readonly stopAt: number;
}

const planted: fc.Arbitrary<Planted> = fc.record({
  share: fc.double({ min: 0, max: 1, noNaN: true }),
  level: fc.integer({ min: 1, max: 3 }),
  isStale: fc.boolean(),
});

const walked: fc.Arbitrary<Walked> = fc.record({
  share: fc.double({ min: 0, max: 1, noNaN: true }),
  level: fc.integer({ min: 1, max: 3 }),
  entries: fc.integer({ min: 0, max: 4 }),
  pages: fc.integer({ min: -2, max: 2 }),
  inside: fc.constantFrom(0, 1, 0xfff),
  flags: fc.integer({ min: 0, max: 7 }),
  actions: fc.array(fc.constantFrom<Action>('none', 'none', 'install', 'break'), {
    minLength: 1,
    maxLength: 7,
  }),
  stopAt: fc.oneof(fc.constant(Infinity), fc.constant(Infinity), fc.nat(40)),
});

/** What a visitor does at each visit; the same for the walker's and the model's. */
class Script {
  readonly #walked: Walked;
  #visits = 0;
  #installs = 0;

  constructor(from: Walked) {
    this.#walked = from;
  }

  next(reason: Reason, level: number): { readonly action: Action; readonly goesOn: boolean } {
    const visit = this.#visits++;
    const { actions, stopAt } = this.#walked;
    const action = actions[visit % actions.length] ?? 'none';
    const goesOn = visit !== stopAt;
    if (action === 'break' && reason !== 'post') return { action, goesOn };
    const installs = action === 'install' && reason === 'leaf' && level < 3;
    if (!installs || this.#installs === INSTALLS_MAX) return { action: 'none', goesOn };
    this.#installs++;
    return { action, goesOn };
  }
}

const line = ({ reason, level, addr, shown }: ModelVisit): string =>
  `${reason} ${level} ${addr.toString(16)} ${shown}`;

class Scribe implements Visitor {
  readonly flags: number;
  readonly lines: string[] = [];
  /** Entries by reason: none comes twice. */
  readonly #seen = new Set<string>();
  readonly #table: ShapedTable;
  readonly #script: Script;

  constructor(table: ShapedTable, from: Walked) {
    this.flags = from.flags;
    this.#table = table;
    this.#script = new Script(from);
  }

  *visit(context: VisitContext, flag: Visit): Op<Outcome> {
    const { entry, old, addr, level } = context;
    const reason = REASONS.find(([, bit]) => bit === flag)?.[0] ?? 'leaf';
    const shown = old.isTable(level) ? 'table' : old.isValid() ? 'leaf' : 'invalid';
    this.lines.push(line({ reason, level, addr, shown }));
    const key = `${reason} ${entry}`;
    must(!this.#seen.has(key), `twice: ${key}`);
    this.#seen.add(key);
    const { action, goesOn } = this.#script.next(reason, level);
    if (action === 'install') yield* this.#install(entry);
    if (action === 'break') yield* storeDescriptor(entry, old.invalidated(), Order.once);
    return goesOn ? 'ok' : 'again';
  }

  *#install(entry: Word): Op<void> {
    const child = yield* this.#table.zone.zalloc();
    const value = foldedAddress(this.#table.shape, child) | 3n;
    const [lo, hi] = [Number(BigInt.asIntN(32, value)), Number(value >> 32n)];
    yield* storeDescriptor(entry, new Descriptor(lo, hi), Order.once);
  }
}

/** The model's side of {@link Scribe}. */
function scribeOf(from: Walked, lines: string[]): (visit: ModelVisit) => Answer {
  const script = new Script(from);
  return (visit) => {
    lines.push(line(visit));
    const { action, goesOn } = script.next(visit.reason, visit.level);
    const made = action === 'install' ? new Map<number, Node>() : null;
    return { entry: action === 'break' ? 'invalid' : made, goesOn };
  };
}

/** A table and the same as a tree. */
class Tree {
  readonly table: ShapedTable;
  readonly root: Map<number, Node> = new Map();
  readonly #shape: TableShape;
  readonly #base: number;
  readonly #bytes: number;

  /** `at`: the share of the IPA space below the part that is used. */
  constructor(shape: TableShape, at: number) {
    this.table = new ShapedTable(shape);
    this.#shape = shape;
    const block = sizeOf(shape, leafLevels(shape)[0] ?? 3);
    this.#bytes = 4 * block;
    this.#base = Math.floor(((2 ** shape.ipaBits - this.#bytes) / block) * at) * block;
  }

  place(share: number, level: number): number {
    const size = sizeOf(this.#shape, level);
    const offset = Math.floor((this.#bytes / size) * share) * size;
    return this.#base + Math.min(offset, this.#bytes - size);
  }

  plant({ share, level: wanted, isStale }: Planted): void {
    const level = Math.max(wanted, leafLevels(this.#shape)[0] ?? 3);
    const addr = this.place(share, level);
    const value = level === 3 ? PAGE_VALUE : BLOCK_VALUE;
    this.table.plant({ addr, level, value: isStale ? value & ~1n : value });
    const { startLevel, geometry } = this.table.pgt;
    let children = this.root;
    for (let at: number = startLevel; ; at++) {
      const number = Math.floor(addr / sizeOf(this.#shape, at));
      const index = at === startLevel ? number : number % geometry.entries;
      if (at === level) {
        children.set(index, isStale ? 'invalid' : 'leaf');
        return;
      }
      const next = children.get(index);
      const table = next instanceof Map ? next : new Map<number, Node>();
      children.set(index, table);
      children = table;
    }
  }
}

/** Loads of entries among what the walk did. */
function loadsOf(tree: Tree, walkIt: () => Op<void>): number {
  const { contents, frames, contentBytes } = tree.table.zone.layout;
  const seen = tree.table.machine.alone(walkIt);
  const end = contents + frames * contentBytes;
  return seen.filter((e) => e.kind === EventKind.load64 && e.at >= contents && e.at < end).length;
}

test('any walker visits what the recursion visits, in its order, and loads each entry as often', () => {
  const cases = fc.record({
    shape: tableShapes,
    at: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
    leaves: fc.array(planted, { maxLength: 3 }),
    from: walked,
  });
  fc.assert(
    fc.property(cases, ({ shape, at, leaves, from }) => {
      const tree = new Tree(shape, at);
      for (const leaf of leaves) tree.plant(leaf);
      const { page, pgt } = tree.table;
      const level = Math.max(from.level, pgt.startLevel);
      const start = tree.place(from.share, 3);
      const size = Math.max(0, from.entries * sizeOf(shape, level) + from.pages * page);
      // From the rounded start, up to a whole page.
      const end = start + Math.ceil((size + from.inside) / page) * page;
      const lines: string[] = [];
      const model = new WalkModel({
        root: tree.root,
        startLevel: pgt.startLevel,
        entries: page / 8,
        sizeOf: (of) => sizeOf(shape, of),
        start,
        end,
        wants: new Set(REASONS.filter(([, bit]) => (from.flags & bit) !== 0).map(([name]) => name)),
        visitor: scribeOf(from, lines),
      });
      const isInside = end <= 2 ** shape.ipaBits;
      const goesOn = isInside && model.run();
      const scribe = new Scribe(tree.table, from);
      let outcome: Outcome = 'ok';
      const loads = loadsOf(tree, function* () {
        outcome = yield* walk(pgt, start + from.inside, size + from.inside, scribe);
      });
      expect(scribe.lines.join('\n')).toBe(lines.join('\n'));
      expect(outcome).toBe(isInside ? (goesOn ? 'ok' : 'again') : 'outOfRange');
      expect(loads).toBe(model.loads);
    }),
    { seed: 12, numRuns: 300 },
  );
}, 120_000);
