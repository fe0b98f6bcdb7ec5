/** Checks what threads do while they do it: a trace, and a worker that drains it into the checkers of events. */
import { closeRing, createRing, resetRing } from '../engine/trace-ring.ts';
import type { CheckReport, CheckTask } from './check-entry.ts';
import type { EventFinding } from './event-checkers.ts';
import { AgentPool } from './pool.ts';
import type { SharedWorld } from './shared-world.ts';
import { WorkerDied, endedEarly } from './user-error.ts';

/** Records of a ring, 512 KiB: some milliseconds of a run. */
const CAPACITY = 2 ** 14;

/** A run to be checked. */
interface Checked {
  /** Resolves when all agents have ended. */
  readonly agents: () => Promise<void>;
  /** Tells them to end: nobody reads their trace any more. */
  readonly stop: () => void;
}

export class TraceCheck {
  readonly ring: SharedArrayBuffer;
  /** Of all seeds. */
  events = 0;
  /** Of the last seed. */
  findings: readonly EventFinding[] = [];
  readonly #task: CheckTask;
  readonly #pool: AgentPool;

  /** `entry`: another worker module than our checkers', for tests. */
  constructor({ memory, world }: SharedWorld, entry: URL | undefined) {
    this.ring = createRing(CAPACITY);
    this.#task = { scenario: world.scenario, ring: this.ring };
    this.#pool = new AgentPool({
      threads: 1,
      port: 'explore',
      entry: entry ?? 'check-entry',
      memory,
    });
  }

  /**
   * Checks one seed, of which the agents do the work.
   * @throws what the agents failed with, and with it what was found until then; Error if a checker failed: a bug of ours.
   */
  async during(signal: AbortSignal, { agents, stop }: Checked): Promise<void> {
    resetRing(this.ring);
    const checked = this.#checked(signal, stop);
    const failure = await agents().then(
      () => null,
      (error: unknown) => ({ error }),
    );
    closeRing(this.ring);
    const report = await checked;
    if (failure !== null)
      throw report instanceof Error ? failure.error : endedEarly(failure.error, report.findings);
    if (report instanceof Error) throw report;
    this.events += report.events;
    this.findings = report.findingsAtEnd;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  /** An error as a value: nobody may be waiting for it yet. */
  async #checked(signal: AbortSignal, stop: () => void): Promise<CheckReport | Error> {
    try {
      const [report] = await this.#pool.run<CheckReport>([this.#task], signal, () => undefined);
      return report ?? new Error('no report of the checkers');
    } catch (error) {
      stop();
      return new Error(`the checkers of events failed: ${reasonOf(error)}`, { cause: error });
    }
  }
}

/** What was thrown in a worker, without the pool's words around it. */
function reasonOf(error: unknown): string {
  const thrown = error instanceof WorkerDied ? error.cause : error;
  return thrown instanceof Error ? thrown.message : String(thrown);
}
