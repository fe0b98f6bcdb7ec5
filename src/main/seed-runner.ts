import type { EventFinding } from './event-checkers.ts';
import type { SharedWorld } from './shared-world.ts';

/** An engine with a scenario in it: runs one seed after another, each from the same beginning. */
export interface SeedRunner {
  /** The memory that the last seed left, until the next one runs. */
  readonly shared: SharedWorld;
  /** Of all events so far; null where events have no order. */
  readonly eventDigest: string | null;
  /** How many of all seeds so far came from threads; null under `explore`, and where threads record none. */
  readonly events: number | null;
  /** What the checkers of events found in the last seed. */
  readonly findings: readonly EventFinding[];
  /**
   * Runs one seed to its end.
   * @throws UserError when the host ran out of memory, StuckError for a deadlock, a livelock or a dead worker, or
   * whatever else ended the seed early once something was found, with the findings.
   */
  run(seed: number): Promise<void>;
  close(): Promise<void>;
}
