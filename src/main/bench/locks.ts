/**
 * `bench locks`: what taking a lock and giving it back costs, uncontended and with two threads that want it all the time, each next to two
 * bare atomic operations on one word in the same run. The mode is part of the name.
 */
import type { EngineMemory } from '../../engine/port.ts';
import type { BenchTask } from '../../workers/bench-entry.ts';
import {
  LOCK_BENCH_BYTES,
  LOCK_PRIMITIVES,
  type LockPrimitive,
} from '../../workers/bench-locks.ts';
import { measured } from './batches.ts';
import type { BenchSize } from './bench.ts';
import { AgentPool } from '../pool.ts';
import type { BenchResult } from '../result.ts';
import type { Output } from '../run-options.ts';

const WASM_PAGE = 65_536;
const THREADS = [1, 2] as const;
const NEVER = new AbortController().signal;

export async function benchLocks(size: BenchSize, io: Output): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const agents of THREADS) {
    const contenders = new Contenders(agents, size.lockRounds);
    try {
      let atomics: BenchResult | undefined;
      for (const primitive of LOCK_PRIMITIVES) {
        const name = `locks/${primitive}`;
        if (io.isTTY) io.stderr.write(`${name}, ${agents}\n`);
        contenders.primitive = primitive;
        const label = { name, vcpus: agents, operations: size.lockRounds, port: 'wasm' } as const;
        const result = await measured(label, contenders, size);
        atomics ??= result;
        results.push({ ...result, ratioTo: { atomics: result.p50 / atomics.p50 } });
      }
    } finally {
      await contenders.close();
    }
  }
  return results;
}

/** Threads that take one lock at the same time. */
class Contenders {
  primitive: LockPrimitive = 'atomics';
  readonly #pool: AgentPool;
  readonly #memory: EngineMemory;
  readonly #agents: number;
  readonly #rounds: number;

  constructor(agents: number, rounds: number) {
    this.#agents = agents;
    this.#rounds = rounds;
    const pages = LOCK_BENCH_BYTES / WASM_PAGE;
    this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.#pool = new AgentPool({
      threads: agents,
      port: 'wasm',
      entry: 'bench-entry',
      memory: this.#memory,
    });
  }

  /** Mean over the threads of the time of one batch. */
  async runNs(): Promise<number> {
    new Uint8Array(this.#memory.buffer).fill(0);
    const tasks = Array.from({ length: this.#agents }, (_, agent): BenchTask => {
      const { primitive } = this;
      return { batch: 'locks', primitive, agent, agents: this.#agents, rounds: this.#rounds };
    });
    const times = await this.#pool.run<number>(tasks, NEVER, () => {});
    return times.reduce((sum, ns) => sum + ns, 0) / times.length;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}
