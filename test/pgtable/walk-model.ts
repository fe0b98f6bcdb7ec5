/** The walk of section 2.2 as a recursion over a tree of plain objects: no cursor, no addresses of entries, no words. */

/** An entry: a table is its children by index; of a root of several pages, over all of them. */
export type Node = 'invalid' | 'leaf' | Map<number, Node>;

export type Reason = 'pre' | 'leaf' | 'post';

/** One visit, and what the visitor was shown. */
export interface ModelVisit {
  readonly reason: Reason;
  readonly level: number;
  readonly addr: number;
  readonly shown: 'invalid' | 'leaf' | 'table';
}

/** What a visitor does: a new value for the entry, and whether the walk goes on. */
export interface Answer {
  readonly entry: Node | null;
  readonly goesOn: boolean;
}

export interface ModelOptions {
  readonly root: Map<number, Node>;
  readonly startLevel: number;
  /** Of a table below the root. */
  readonly entries: number;
  readonly sizeOf: (level: number) => number;
  /** In whole pages. */
  readonly start: number;
  readonly end: number;
  readonly wants: ReadonlySet<Reason>;
  readonly visitor: (visit: ModelVisit) => Answer;
}

export class WalkModel {
  /** Loads of entries. */
  loads = 0;
  readonly #options: ModelOptions;

  constructor(options: ModelOptions) {
    this.#options = options;
  }

  /** Whether the walk came to its end. */
  run(): boolean {
    const { root, startLevel, start, end } = this.#options;
    return start === end || this.#table(root, startLevel, 0, Infinity);
  }

  /** Every entry that meets the range, in order. */
  #table(table: Map<number, Node>, level: number, base: number, entries: number): boolean {
    const { start, end, sizeOf } = this.#options;
    const size = sizeOf(level);
    const first = Math.floor((Math.max(start, base) - base) / size);
    for (let index = first; index < entries && base + index * size < end; index++) {
      if (!this.#entry(table, index, level, base + index * size)) return false;
    }
    return true;
  }

  #entry(table: Map<number, Node>, index: number, level: number, base: number): boolean {
    const addr = Math.max(base, this.#options.start);
    this.loads++;
    let node = table.get(index) ?? 'invalid';
    if (node instanceof Map) {
      // A table that the visitor takes away is walked all the same.
      if (!this.#call(table, index, { reason: 'pre', level, addr, shown: 'table' })) return false;
    } else if (this.#options.wants.has('leaf')) {
      const goesOn = this.#call(table, index, { reason: 'leaf', level, addr, shown: node });
      if (!goesOn) return false;
      if (level < 3) this.loads++;
      node = table.get(index) ?? 'invalid';
    }
    if (!(node instanceof Map)) return true;
    if (!this.#table(node, level + 1, base, this.#options.entries)) return false;
    return this.#call(table, index, { reason: 'post', level, addr, shown: 'table' });
  }

  #call(table: Map<number, Node>, index: number, visit: ModelVisit): boolean {
    const { wants, visitor } = this.#options;
    if (!wants.has(visit.reason)) return true;
    const { entry, goesOn } = visitor(visit);
    if (entry !== null) table.set(index, entry);
    return goesOn;
  }
}
