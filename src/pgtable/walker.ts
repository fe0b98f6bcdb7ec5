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

/** A walk in progress: the cursor and what does not change. */
class Walk implements WalkRange {
  readonly start: number;
  readonly end: number;
  readonly #pgt: Pgtable;
  readonly #visitor: Visitor;
  #cursor: number;

  constructor(pgt: Pgtable, visitor: Visitor, start: number, end: number) {
    this.#pgt = pgt;
    this.#visitor = visitor;
    this.#cursor = start;
    this.start = start;
    this.end = end;
  }

  /** Each page of the concatenated root in turn, as a table of the start level. */
  *run(): Op<Outcome> {
    const { geometry, startLevel, pgd, ops } = this.#pgt;
    const root = ops.wordOf(pgd);
    while (this.#cursor < this.end) {
      const page = geometry.rootPage(this.#cursor, startLevel);
      const outcome = yield* this.#walkTable(root + page * geometry.pageBytes, startLevel);
      if (outcome !== 'ok') return outcome;
    }
    return 'ok';
  }

  *#walkTable(table: Word, level: Level): Op<Outcome> {
    const { geometry } = this.#pgt;
    let index = geometry.indexOf(this.#cursor, level);
    for (; index < geometry.entries && this.#cursor < this.end; index++) {
      const outcome = yield* this.#visitEntry(table + index * DESCRIPTOR_BYTES, level);
      if (outcome !== 'ok') return outcome;
    }
    return 'ok';
  }

  *#visitEntry(entry: Word, level: Level): Op<Outcome> {
    const visitor = this.#visitor;
    const { flags } = visitor;
    const addr = this.#cursor;
    let old = yield* loadDescriptor(entry);
    let context = new VisitContext(entry, old, addr, level, this);
    let outcome: Outcome = 'ok';
    if (old.isTable(level)) {
      if ((flags & Visit.tablePre) !== 0) outcome = yield* visitor.visit(context, Visit.tablePre);
    } else if ((flags & Visit.leaf) !== 0) {
      outcome = yield* visitor.visit(context, Visit.leaf);
      if (level !== LAST_LEVEL) {
        // The visitor may have installed a table: descend into it. Level 3 has none.
        old = yield* loadDescriptor(entry);
        context = new VisitContext(entry, old, addr, level, this);
      }
    }
    if (outcome !== 'ok') return outcome;
    const { geometry } = this.#pgt;
    if (!old.isTable(level)) {
      // Rounded: the cursor may have been inside the entry.
      this.#cursor = geometry.alignDown(addr, level) + geometry.sizeOf(level);
      return 'ok';
    }
    // A tablePre visitor that broke the entry still has the child walked: `old` is from before.
    outcome = yield* this.#walkTable(childOf(this.#pgt, old), (level + 1) as Level);
    if (outcome !== 'ok' || (flags & Visit.tablePost) === 0) return outcome;
    return yield* visitor.visit(context, Visit.tablePost);
  }
}
