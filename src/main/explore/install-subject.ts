/** The install litmus as something to explore. */
import { attach } from '#port';
import type { AgentSpec } from '../../engine/execution.ts';
import type { ExploreMemory } from '../../engine/explore-memory.ts';
import type { Program, Remainder } from '../../explore/remainder.ts';
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
  readonly locks = 'steps';
  readonly judge: Subject['judge'] = findingsOf;
  readonly #litmus: InstallLitmus;
  /** Of each thread. */
  readonly #faults: readonly (readonly number[])[];
  readonly #memory: ExploreMemory;

  constructor(litmus: InstallLitmus, rests: readonly Remainder[] = []) {
    const bytes = Math.ceil(installBytes(litmus) / PAGE_BYTES) * PAGE_BYTES;
    const memory = { buffer: new ArrayBuffer(bytes) };
    this.#litmus = litmus;
    const all = Array.from({ length: litmus.faults }, (_, fault) => fault);
    this.#faults = Array.from(
      { length: litmus.threads },
      (_, thread) => rests.find(({ agent }) => agent === thread)?.kept ?? all,
    );
    this.#memory = attach({ memory, seed: 0, statistics: 0, stop: 0 });
    this.#memory.baseline();
    this.words = this.#memory.words;
    this.agents = litmus.threads;
  }

  begin(): AgentSpec[] {
    this.#memory.restore();
    return this.#faults.map((faults, thread) => ({
      name: threadName(thread),
      statistics: 0,
      start: () => installThread(thread, faults),
    }));
  }

  finalState(): string {
    return installState(this.#litmus);
  }
}

export function threadName(thread: number): string {
  return `thread ${thread}`;
}

export function installPrograms({ threads, faults }: InstallLitmus): readonly Program[] {
  const operations = Array.from({ length: faults }, (_, fault) => `fault ${fault}`);
  return Array.from({ length: threads }, (_, agent) => ({ phase: 0, agent, operations }));
}
