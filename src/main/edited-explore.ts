/**
 * Runs an edited core under `explore`: the agents take their steps in one fresh worker thread, whose modules are edited. Set-up and
 * verification stay in the main thread, unedited, on the same shared memory.
 */
import type { Scenario } from '../workers/scenario.ts';
import { resultOf, type Answer } from './answer.ts';
import type { EditedSeedReport, EditedSeedTask } from './edited-entry.ts';
import type { SourceEdit } from './edits.ts';
import { AgentPool } from './pool.ts';
import type { RunOptions } from './run-options.ts';
import { watched } from './run-threads.ts';
import type { EventFinding } from './event-checkers.ts';
import type { SeedRunner } from './seed-runner.ts';
import { createSharedWorld, type SharedWorld } from './shared-world.ts';

export class EditedExploreRunner implements SeedRunner {
  readonly shared: SharedWorld;
  eventDigest = '';
  findings: readonly EventFinding[] = [];
  readonly events = null;
  readonly #options: RunOptions;
  readonly #pool: AgentPool;

  constructor(scenario: Scenario, options: RunOptions, edits: readonly SourceEdit[]) {
    this.#options = options;
    this.shared = createSharedWorld(scenario);
    this.#pool = new AgentPool({
      threads: 1,
      port: 'explore',
      entry: 'edited-entry',
      memory: this.shared.memory,
      edits,
    });
  }

  async run(seed: number): Promise<void> {
    const { explore, world } = this.shared;
    // What the verification wrote; the worker undoes what its agents wrote.
    explore.restore();
    const task: EditedSeedTask = { scenario: world.scenario, seed };
    const [answer] = await watched(this.shared, this.#options, seed, (signal) =>
      this.#pool.run<Answer<EditedSeedReport>>([task], signal, () => undefined),
    );
    // Anew for each seed: pages saved after another one hold what that one left.
    explore.baseline();
    if (answer === undefined) throw new Error('no report of the seed');
    const { eventDigest, findings } = resultOf(answer);
    this.eventDigest = eventDigest;
    this.findings = findings;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}
