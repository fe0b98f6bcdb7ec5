/** What checkers find: a verdict of a fixed vocabulary, what happened, and what led to it. */
import type { Holds } from './holds.ts';
import type { LastEvents, Place } from './last-events.ts';
import type { Names } from './names.ts';

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
  /** What each participant held, then the last events on the entry, a line each. */
  readonly context: readonly string[];
}

/** Whom a finding is about, and which entry; null for none in particular. */
export interface Evidence {
  readonly agents: readonly number[];
  readonly place: Place | null;
}

/** Findings of one execution. A verdict is kept once, with the first message: what follows is mostly its consequence. */
export class Findings {
  readonly names: Names;
  readonly #holds: Holds;
  readonly #events: LastEvents;
  readonly #first = new Map<TableVerdict, TableFinding>();

  constructor(names: Names, holds: Holds, events: LastEvents) {
    this.names = names;
    this.#holds = holds;
    this.#events = events;
  }

  add(verdict: TableVerdict, message: string, { agents, place }: Evidence): void {
    if (this.#first.has(verdict)) return;
    const held = [...new Set(agents)].map((agent) => this.#heldBy(agent));
    const events = place === null ? [] : this.#events.of(place);
    this.#first.set(verdict, { verdict, message, context: [...held, ...events] });
  }

  get all(): readonly TableFinding[] {
    return Array.from(this.#first.values());
  }

  clear(): void {
    this.#first.clear();
  }

  #heldBy(agent: number): string {
    const locks = this.#holds.by(agent).map(({ lock, isShared }) => {
      const name = this.names.lock(lock) ?? `the lock at 0x${lock.toString(16)}`;
      return isShared ? `${name} (read)` : name;
    });
    const held = locks.length === 0 ? 'nothing' : locks.join(', ');
    return `${this.names.agent(agent)} holds ${held}`;
  }
}
