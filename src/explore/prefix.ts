/** The beginning of executions, as a share of an exhaustive exploration that others need not know about. */

/** A step of an agent; `choice`: what `choose` gives, if it is one. */
export interface Turn {
  readonly agent: number;
  readonly choice: number;
}

export interface Prefix {
  readonly turns: readonly Turn[];
  /** Steps after the turns that other prefixes explore: nothing that begins like them belongs to this one. */
  readonly sleep: readonly Turn[];
}

/** All executions. */
export const WHOLE: Prefix = { turns: [], sleep: [] };

export function isSameTurn(x: Turn, y: Turn): boolean {
  return x.agent === y.agent && x.choice === y.choice;
}
