/**
 * The walker: one function descends a table of any geometry, and calls a visitor for leaves and invalid entries, for tables
 * before their children, and for tables after their children (specification section 2).
 *
 * Contract. The range is [start rounded down to a page, start + size rounded up): its end comes from the *rounded* start, so an
 * unaligned range may cover one page less than the naive union. Leaves come in ascending order. A visitor sees an address
 * that may lie inside its entry, and an invalid entry too. It never reloads what it was given in `old`.
 */
import type { Op, Word } from '#port';
import { loadDescriptor, type Descriptor } from '../machine/descriptor.ts';
import type { Level } from '../machine/address.ts';
import { DESCRIPTOR_BYTES, LAST_LEVEL } from '../machine/geometry.ts';
import type { Outcome } from './outcome.ts';
import { childOf, NO_PGD, type Pgtable } from './pgtable.ts';

/** When a visitor wants to be called. */
export const Visit = {
  /** Leaves, and every invalid entry. */
  leaf: 1,
  /** Tables, before their children. */
  tablePre: 2,
  /** Tables, after all their children succeeded. */
  tablePost: 4,
} as const;
export type Visit = (typeof Visit)[keyof typeof Visit];
/** The visits of a table. */
const TABLES = Visit.tablePre | Visit.tablePost;

/** The walked range, in whole pages. */
export interface WalkRange {
  readonly start: number;
  readonly end: number;
}

/** One visit: shared state, read once. */
export class VisitContext {
  readonly entry: Word;
  /** The entry as the walker loaded it: what the visitor decides on. */
  readonly old: Descriptor;
  /** Input address of the visit; inside the entry, not always at its base. */
  readonly addr: number;
  readonly level: Level;
  readonly range: WalkRange;

  constructor(entry: Word, old: Descriptor, addr: number, level: Level, range: WalkRange) {
    this.entry = entry;
    this.old = old;
    this.addr = addr;
    this.level = level;
    this.range = range;
  }
}

/** A walk's callback. A result other than `ok` ends the walk and is its result. */
export interface Visitor {
  /** Sum of {@link Visit} flags. */
  readonly flags: number;
  visit(context: VisitContext, reason: Visit): Op<Outcome>;
}

/**
 * Walks [`addr`, `addr + size`). `outOfRange` if the range ends beyond the input address space (its last address may be the limit),
 * `invalid` without a table; otherwise the first result of a visitor that is not `ok`.
 */
export function* walk(pgt: Pgtable, addr: number, size: number, visitor: Visitor): Op<Outcome> {
  const start = pgt.geometry.pageDown(addr);
  const end = pgt.geometry.pageUp(start + size);
  if (start > pgt.iaLimit || end > pgt.iaLimit) return 'outOfRange';
  if (pgt.pgd === NO_PGD) return 'invalid';
  pgt.ops.walkBegin();
  const outcome = yield* new Walk(pgt, visitor, start, end).run();
  pgt.ops.walkEnd();
  return outcome;
}

/** A walk in progress: what does not change on its way. */
class Walk implements WalkRange {
  readonly start: number;
  readonly end: number;
  readonly #pgt: Pgtable;
  readonly #visitor: Visitor;

  constructor(pgt: Pgtable, visitor: Visitor, start: number, end: number) {
    this.#pgt = pgt;
    this.#visitor = visitor;
    this.start = start;
    this.end = end;
  }

  /** Each page of the concatenated root in turn, as a table of the start level. */
  *run(): Op<Outcome> {
    const { geometry, startLevel, pgd, ops } = this.#pgt;
    const root = ops.wordOf(pgd);
    const reach = geometry.sizeOf(startLevel) * geometry.entries;
    let page = geometry.rootPage(this.start, startLevel);
    for (let addr = this.start; addr < this.end; addr = page * reach) {
      const table = root + page * geometry.pageBytes;
      const outcome = yield* this.#walkTable(table, startLevel, addr);
      if (outcome !== 'ok') return outcome;
      page++;
    }
    return 'ok';
  }

  /** The entries of a table from the one of `from` on. */
  *#walkTable(table: Word, level: Level, from: number): Op<Outcome> {
    const { geometry } = this.#pgt;
    const { end } = this;
    const size = geometry.sizeOf(level);
    let index = geometry.indexOf(from, level);
    let addr = from;
    // Rounded: only the first address may be inside its entry.
    let next = geometry.alignDown(from, level) + size;
    for (; index < geometry.entries && addr < end; index++) {
      const entry = table + index * DESCRIPTOR_BYTES;
      const old = yield* loadDescriptor(entry);
      const outcome = old.isTable(level)
        ? yield* this.#visitTable(entry, old, addr, level)
        : yield* this.#visitLeaf(entry, old, addr, level);
      if (outcome !== 'ok') return outcome;
      addr = next;
      next += size;
    }
    return 'ok';
  }

  *#visitLeaf(entry: Word, old: Descriptor, addr: number, level: Level): Op<Outcome> {
    const visitor = this.#visitor;
    if ((visitor.flags & Visit.leaf) === 0) return 'ok';
    const context = new VisitContext(entry, old, addr, level, this);
    const outcome = yield* visitor.visit(context, Visit.leaf);
    if (outcome !== 'ok' || level === LAST_LEVEL) return outcome;
    // The visitor may have installed a table: descend into it. Level 3 has none.
    const now = yield* loadDescriptor(entry);
    if (!now.isTable(level)) return 'ok';
    return yield* this.#visitChildren(new VisitContext(entry, now, addr, level, this));
  }

  *#visitTable(entry: Word, old: Descriptor, addr: number, level: Level): Op<Outcome> {
    const visitor = this.#visitor;
    // Nobody looks at the table: on the way to a leaf a context costs more than the descent.
    if ((visitor.flags & TABLES) === 0) return yield* this.#walkChild(old, addr, level);
    const context = new VisitContext(entry, old, addr, level, this);
    if ((visitor.flags & Visit.tablePre) !== 0) {
      const outcome = yield* visitor.visit(context, Visit.tablePre);
      if (outcome !== 'ok') return outcome;
    }
    // A tablePre visitor that broke the entry still has the child walked: `old` is from before.
    return yield* this.#visitChildren(context);
  }

  /** What is left of a table's visit once it was decided to descend. */
  *#visitChildren(table: VisitContext): Op<Outcome> {
    const visitor = this.#visitor;
    const outcome = yield* this.#walkChild(table.old, table.addr, table.level);
    if (outcome !== 'ok' || (visitor.flags & Visit.tablePost) === 0) return outcome;
    return yield* visitor.visit(table, Visit.tablePost);
  }

  *#walkChild(table: Descriptor, addr: number, level: Level): Op<Outcome> {
    return yield* this.#walkTable(childOf(this.#pgt, table), (level + 1) as Level, addr);
  }
}
