import type { EntryChange } from './tables.ts';

/** A checker of tables: a passive automaton. It is told before the models follow what happened. */
export interface TableCheck {
  /** A store to an entry of a linked page. */
  onEntry?(change: EntryChange): void;
  /** Any other event that can matter to tables. `record` is reused: copy what must be kept. */
  onEvent?(record: Int32Array): void;
  /** At the end of an execution that completed. */
  finish?(): void;
  /** Before another execution. */
  reset?(): void;
}
