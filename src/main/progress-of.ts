import { read32 } from '#port';
import { mainAgent, statisticsOf } from '../workers/layout.ts';
import { FAULT_CLASSES, STATISTICS } from '../workers/statistics.ts';
import type { Progress } from './run-options.ts';
import type { SharedWorld } from './shared-world.ts';

/** How far a run is, and the steps that show that it still moves: racy plain reads, a moment behind. */
export function progressOf(
  shared: SharedWorld,
): Omit<Progress, 'seed'> & { readonly steps: number } {
  const floats = new Float64Array(shared.memory.buffer);
  const { layout } = shared;
  const sum = (offset: number): number => {
    let total = 0;
    for (let agent = 0; agent < mainAgent(layout); agent++) {
      total += floats[(statisticsOf(layout, agent) + offset) / 8] as number;
    }
    return total;
  };
  const accesses = sum(STATISTICS.accesses);
  const faults = FAULT_CLASSES.reduce(
    (total, name) => total + sum(STATISTICS.faults[name].faults),
    0,
  );
  const { locks, rwLocks } = STATISTICS;
  const { read, write } = rwLocks.mmu_lock;
  const taken = [locks.mmu_lock, read, write].map(({ acquisitions }) => sum(acquisitions));
  const steps = taken.reduce((total, times) => total + times, accesses + faults);
  return { round: read32(layout.words.rounds), accesses, faults, steps };
}
