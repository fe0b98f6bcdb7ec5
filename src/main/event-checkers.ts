/** The passive checkers of a run under `explore`. */
import type { TableFinding } from '../check/finding.ts';
import type { TableChecker } from '../check/table-checker.ts';
import type { EventSink } from '../engine/events.ts';
import { LockChecker, type LockFinding } from '../locking/lock-checker.ts';
import { nameOf } from '../workers/agents.ts';
import { LOCK_ORDER, lockClassesOf } from '../workers/lock-classes.ts';
import type { SharedWorld } from './shared-world.ts';
import { tableCheckerOf } from './table-checker-of.ts';

export type EventFinding = LockFinding | TableFinding;

export class EventCheckers {
  readonly #newLocks: () => LockChecker;
  #locks: LockChecker;
  readonly #tables: TableChecker;

  /** `shared`: as every execution begins. */
  constructor(shared: SharedWorld) {
    const { layout } = shared;
    const classes = lockClassesOf(layout);
    this.#newLocks = () => new LockChecker(classes, LOCK_ORDER, (agent) => nameOf(layout, agent));
    this.#locks = this.#newLocks();
    this.#tables = tableCheckerOf(shared);
  }

  get sinks(): readonly EventSink[] {
    return [this.#locks, this.#tables];
  }

  /** What was found since the last reset. */
  get findings(): readonly EventFinding[] {
    return [...this.#locks.findings, ...this.#tables.findings];
  }

  /** Before another execution. */
  reset(): void {
    this.#locks.reset();
    this.#tables.reset();
  }

  /** The same, and forgets the order of locks: what is found depends on one execution alone, whose schedule shows it again. */
  renew(): void {
    this.#locks = this.#newLocks();
    this.#tables.reset();
  }

  /** At the end of an execution that completed. */
  finish(): void {
    this.#locks.finish(() => false);
    this.#tables.finish();
  }
}
