/** What checkers find: a verdict of a fixed vocabulary, and what happened. */

/** One word for each way in which the tables of a VM can be used wrongly; the checker that gives it says when. */
export const TABLE_VERDICTS = [
  'break-before-make',
  'break-not-completed',
  'stale-tlb',
  'tlb-fill',
  'table-freed',
  'table-use',
  'table-count',
  'entry-lock',
] as const;
export type TableVerdict = (typeof TABLE_VERDICTS)[number];

export interface TableFinding {
  readonly verdict: TableVerdict;
  readonly message: string;
}

/** Findings of one execution. A verdict is kept once, with the first message: what follows is mostly its consequence. */
export class Findings {
  readonly #first = new Map<TableVerdict, TableFinding>();

  add(verdict: TableVerdict, message: string): void {
    if (!this.#first.has(verdict)) this.#first.set(verdict, { verdict, message });
  }

  get all(): readonly TableFinding[] {
    return Array.from(this.#first.values());
  }

  clear(): void {
    this.#first.clear();
  }
}
