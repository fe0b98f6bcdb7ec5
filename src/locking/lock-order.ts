/**
 * The order in which classes of locks were taken, as a graph: an edge from each class that was held to the one that was taken under it. A
 * cycle can deadlock, whether or not it did: it is seen when its last edge is, from whichever agents the edges come.
 */
export class LockOrder {
  readonly #after = new Map<string, Set<string>>();

  /** `declared`: classes in the order in which they are to be taken, outermost first. */
  constructor(declared: readonly string[]) {
    for (let i = 1; i < declared.length; i++) {
      this.#edges(declared[i - 1] as string).add(declared[i] as string);
    }
  }

  /**
   * `taken` is taken under `held`. Gives the classes that led from `taken` to `held` before, both included, where this closes a cycle
   * that was not there; otherwise null.
   */
  add(held: string, taken: string): readonly string[] | null {
    const after = this.#edges(held);
    if (after.has(taken)) return null;
    after.add(taken);
    return this.#path(taken, held, new Set());
  }

  #path(from: string, to: string, seen: Set<string>): readonly string[] | null {
    if (from === to) return [to];
    seen.add(from);
    for (const next of this.#edges(from)) {
      const path = seen.has(next) ? null : this.#path(next, to, seen);
      if (path !== null) return [from, ...path];
    }
    return null;
  }

  #edges(from: string): Set<string> {
    const known = this.#after.get(from);
    if (known !== undefined) return known;
    const edges = new Set<string>();
    this.#after.set(from, edges);
    return edges;
  }
}
