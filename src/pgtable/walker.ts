/**
 * The walker: one function descends a table of any geometry, and calls a visitor for leaves and invalid entries, for tables
 * before their children, and for tables after their children (specification section 2). A walk that other walks may run beside goes by
 * the rules of 6.2 on (section 2.3): {@link WalkFlag}.
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
import { childOf, NO_PGD, type Pgtable, type Tables } from './pgtable.ts';

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

/** How a walk goes, added to a visitor's {@link Visit} flags. */
export const WalkFlag = {
  /** Other walks may change entries meanwhile: the owner's read section keeps alive what this one can reach. */
  shared: 8,
  /** The walk serves a fault, which will come again: `again` ends it. */
  handleFault: 16,
  /** The rules of 6.2 on: without `handleFault` the walk goes on after `again`; a table is loaded again after its tablePre visit. */
  parallel: 32,
} as const;

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

/** A walk's callback. A result other than `ok` ends the walk and is its result, but for `again` by the rules of {@link WalkFlag}. */
export interface Visitor {
  /** Sum of {@link Visit} and {@link WalkFlag} flags. */
  readonly flags: number;
  visit(context: VisitContext, reason: Visit): Op<Outcome>;
}

/**
 * Walks [`addr`, `addr + size`). `outOfRange` if the range ends beyond the input address space (its last address may be the limit),
 * `invalid` without a table, `notPermitted` for a shared walk where the owner has no read section; otherwise the first result of a
 * visitor that ends the walk.
 */
export function* walk(pgt: Pgtable, addr: number, size: number, visitor: Visitor): Op<Outcome> {
  const start = pgt.geometry.pageDown(addr);
  const end = pgt.geometry.pageUp(start + size);
  if (start > pgt.iaLimit || end > pgt.iaLimit) return 'outOfRange';
  if (pgt.pgd === NO_PGD) return 'invalid';
  const { ops } = pgt;
  const isShared = (visitor.flags & WalkFlag.shared) !== 0;
  if (isShared && !(yield* ops.rcuReadLock())) return 'notPermitted';
  ops.walkBegin();
  const root = ops.wordOf(pgt.pgd);
  const outcome = yield* new Walk(pgt, visitor, start, end).run(root, pgt.startLevel);
  ops.walkEnd();
  if (isShared) yield* ops.rcuReadUnlock();
  return outcome;
}

/**
 * Walks all of a detached table, which an entry of `level` pointed to or will; input addresses count from 0. Only its holder knows the
 * table: no read section, and no walk of the live table to be counted.
 */
export function* walkUnlinked(
  tables: Tables,
  table: Word,
  level: Level,
  visitor: Visitor,
): Op<Outcome> {
  const end = tables.geometry.sizeOf(level);
  return yield* new Walk(tables, visitor, 0, end).run(table, (level + 1) as Level);
}

/** A walk in progress: what does not change on its way. */
class Walk implements WalkRange {
  readonly start: number;
  readonly end: number;
  readonly #tables: Tables;
  readonly #visitor: Visitor;

  constructor(tables: Tables, visitor: Visitor, start: number, end: number) {
    this.#tables = tables;
    this.#visitor = visitor;
    this.start = start;
    this.end = end;
  }

  /** Each page of the concatenated root in turn, as a table of the start level. */
  *run(root: Word, startLevel: Level): Op<Outcome> {
    const { geometry } = this.#tables;
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
    const { geometry } = this.#tables;
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
    const outcome = resultOf(yield* visitor.visit(context, Visit.leaf), visitor.flags);
    if (outcome !== 'ok' || level === LAST_LEVEL) return outcome;
    // The visitor may have installed a table: descend into it. Level 3 has none.
    return yield* this.#visitReloaded(entry, addr, level);
  }

  *#visitTable(entry: Word, old: Descriptor, addr: number, level: Level): Op<Outcome> {
    const visitor = this.#visitor;
    // Nobody looks at the table: on the way to a leaf a context costs more than the descent.
    if ((visitor.flags & TABLES) === 0) return yield* this.#walkChild(old, addr, level);
    const context = new VisitContext(entry, old, addr, level, this);
    if ((visitor.flags & Visit.tablePre) !== 0) {
      const outcome = resultOf(yield* visitor.visit(context, Visit.tablePre), visitor.flags);
      if (outcome !== 'ok') return outcome;
      // A parallel visitor that replaced the table has given it away.
      if ((visitor.flags & WalkFlag.parallel) !== 0)
        return yield* this.#visitReloaded(entry, addr, level);
    }
    // Any other that broke the entry still has the child walked: `old` is from before.
    return yield* this.#visitChildren(context);
  }

  /** Descends into what the visitor left behind, if that is a table. */
  *#visitReloaded(entry: Word, addr: number, level: Level): Op<Outcome> {
    const now = yield* loadDescriptor(entry);
    if (!now.isTable(level)) return 'ok';
    return yield* this.#visitChildren(new VisitContext(entry, now, addr, level, this));
  }

  /** What is left of a table's visit once it was decided to descend. */
  *#visitChildren(table: VisitContext): Op<Outcome> {
    const visitor = this.#visitor;
    const outcome = yield* this.#walkChild(table.old, table.addr, table.level);
    if (outcome !== 'ok' || (visitor.flags & Visit.tablePost) === 0) return outcome;
    return resultOf(yield* visitor.visit(table, Visit.tablePost), visitor.flags);
  }

  *#walkChild(table: Descriptor, addr: number, level: Level): Op<Outcome> {
    return yield* this.#walkTable(childOf(this.#tables, table), (level + 1) as Level, addr);
  }
}

/** What a visit means for the walk: `ok` goes on. */
function resultOf(outcome: Outcome, flags: number): Outcome {
  const passesOver = (flags & (WalkFlag.parallel | WalkFlag.handleFault)) === WalkFlag.parallel;
  return outcome === 'again' && passesOver ? 'ok' : outcome;
}
