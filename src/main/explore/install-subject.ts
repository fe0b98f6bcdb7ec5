/** The install litmus as something to explore. */
import { attach } from '#port';
import type { AgentSpec } from '../../engine/execution.ts';
import type { ExploreMemory } from '../../engine/explore-memory.ts';
import { findingsOf, type Subject } from '../../explore/subject.ts';
import {
  installBytes,
  installState,
  installThread,
  type InstallLitmus,
} from '../../workers/install-litmus.ts';

const PAGE_BYTES = 4096;

export class InstallSubject implements Subject {
  readonly words: Int32Array;
  readonly agents: number;
  readonly hasDaemons = false;
  readonly judge: Subject['judge'] = findingsOf;
  readonly #litmus: InstallLitmus;
  readonly #memory: ExploreMemory;

  constructor(litmus: InstallLitmus) {
    const bytes = Math.ceil(installBytes(litmus) / PAGE_BYTES) * PAGE_BYTES;
    const memory = { buffer: new ArrayBuffer(bytes) };
    this.#litmus = litmus;
    this.#memory = attach({ memory, seed: 0, statistics: 0, stop: 0 });
    this.#memory.baseline();
    this.words = this.#memory.words;
    this.agents = litmus.threads;
  }

  begin(): AgentSpec[] {
    this.#memory.restore();
    return Array.from({ length: this.agents }, (_, thread) => ({
      name: `thread ${thread}`,
      statistics: 0,
      start: () => installThread(this.#litmus, thread),
    }));
  }

  finalState(): string {
    return installState(this.#litmus);
  }
}
