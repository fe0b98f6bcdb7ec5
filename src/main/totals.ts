/** Sums the statistics blocks of agents, over all agents and all seeds of a run. */
import { BUCKETS, least, percentiles } from '../engine/histogram.ts';
import type { EngineMemory } from '../engine/port.ts';
import { mainAgent, statisticsOf, type Layout } from '../workers/layout.ts';
import { FAULT_CLASSES, STATISTICS, WALKS_MAX, type FaultClass } from '../workers/statistics.ts';
import { LOCK_ROWS } from './lock-rows.ts';
import type { LockResult, LockTimes, Percentiles, RunResult, WalkCounts } from './result.ts';

const NOTHING_TIMED: Percentiles = { p50: null, p90: null, p99: null, max: null };

/** Float counters and 32-bit counters of blocks, added up word by word. */
export class Totals {
  readonly #floats = new Float64Array(STATISTICS.bytes / 8);
  readonly #words = new Float64Array(STATISTICS.bytes / 4);

  /** Adds the blocks of the agents of one finished run. */
  add(memory: EngineMemory, layout: Layout): void {
    const floats = new Float64Array(memory.buffer);
    const words = new Uint32Array(memory.buffer);
    for (let agent = 0; agent < mainAgent(layout); agent++) {
      const at = statisticsOf(layout, agent);
      for (let i = 0; i < this.#floats.length; i++) {
        this.#floats[i] = (this.#floats[i] as number) + (floats[at / 8 + i] as number);
      }
      for (let i = 0; i < this.#words.length; i++) {
        this.#words[i] = (this.#words[i] as number) + (words[at / 4 + i] as number);
      }
    }
  }

  counter(offset: number): number {
    return this.#floats[offset / 8] as number;
  }

  faults(): RunResult['faults'] {
    const of = (name: FaultClass): number => this.counter(STATISTICS.faults[name].faults);
    const total = FAULT_CLASSES.reduce((sum, name) => sum + of(name), 0);
    const seconds = this.counter(STATISTICS.wallNs) / 1e9;
    return {
      total,
      translation: of('translation'),
      permission: of('permission'),
      access: of('access'),
      retried: this.counter(STATISTICS.retried),
      perSecond: seconds > 0 ? total / seconds : 0,
    };
  }

  /** Software walks per fault of a class. */
  walks(name: FaultClass): WalkCounts {
    const at = STATISTICS.faults[name].walks / 4;
    const counts = this.#words.subarray(at, at + WALKS_MAX + 1);
    const seen = Array.from(counts.entries()).filter(([, faults]) => faults > 0);
    const faults = seen.reduce((sum, [, n]) => sum + n, 0);
    if (faults === 0) return { faults: 0, min: null, max: null, mean: null };
    const walks = seen.reduce((sum, [each, n]) => sum + each * n, 0);
    return {
      faults,
      min: seen[0]?.[0] ?? null,
      max: seen.at(-1)?.[0] ?? null,
      mean: walks / faults,
    };
  }

  latency(name: FaultClass): Percentiles {
    return percentiles(this.#histogram(STATISTICS.faults[name].latencyNs)) ?? NOTHING_TIMED;
  }

  /** The locks that were taken, one with readers and writers once per mode. */
  locks(): LockResult[] {
    const all = LOCK_ROWS.map(({ at, ...row }): LockResult => {
      const waits = this.#histogram(at.waitNs);
      const holds = this.#histogram(at.holdNs);
      return {
        ...row,
        acquisitions: this.#tally(at.acquisitions),
        contended: this.#tally(at.contentions),
        waitNs: lockTimes(waits, this.counter(at.waitTotalNs)),
        holdNs: lockTimes(holds, this.counter(at.holdTotalNs)),
      };
    });
    return all.filter(({ acquisitions }) => acquisitions > 0);
  }

  tlbi(): RunResult['tlbi'] {
    const { byIpa, local, range, vmid, all } = STATISTICS.tlbi;
    return {
      byIpa: this.counter(byIpa),
      local: this.counter(local),
      range: this.counter(range),
      vmid: this.counter(vmid),
      all: this.counter(all),
    };
  }

  #tally(offset: number): number {
    return this.#words[offset / 4] as number;
  }

  #histogram(offset: number): Float64Array {
    return this.#words.subarray(offset / 4, offset / 4 + BUCKETS);
  }
}

function samplesOf(buckets: Float64Array): number {
  return buckets.reduce((sum, samples) => sum + samples, 0);
}

function lockTimes(buckets: Float64Array, total: number): LockTimes {
  const found = percentiles(buckets);
  if (found === null) return { ...NOTHING_TIMED, min: null, total: null, mean: null };
  return { ...found, min: least(buckets), total, mean: total / samplesOf(buckets) };
}
