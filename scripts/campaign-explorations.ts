/** Explorations of the campaign that end by themselves: every interleaving, or one of each trace, of small workloads. */
import type { ProfileName } from '../src/kvm/profile.ts';
import { exploreWorkload } from '../src/main/explore/explore.ts';
import type { ExploreOptions } from '../src/main/explore/options.ts';

export interface Exploration {
  readonly workload: string;
  readonly strategy: 'dpor' | 'brute-force';
  /** Null of a litmus without a VM. */
  readonly kvm: ProfileName | null;
  /** What has to come out. */
  readonly traces: number;
  /** How many executions it may take at most. */
  readonly schedules: number;
}

const ALL_OF_IT = {
  seed: 1,
  depth: 1,
  preemptions: 0,
  longest: 1_000_000,
  schedules: Number.POSITIVE_INFINITY,
  steps: Number.POSITIVE_INFINITY,
  seconds: Number.POSITIVE_INFINITY,
  memory: Number.POSITIVE_INFINITY,
  workers: 1,
  shard: { index: 1, of: 1 },
  checkpoint: null,
  resume: false,
} as const;

/** Those that take longer than a test may. */
export function explorations(): Exploration[] {
  return [
    exploration('litmus/install-3x1', 'brute-force', null, 1_584, 1_173_042),
    exploration('litmus/install-4x1', 'dpor', null, 50_176, 51_012),
    exploration('litmus/translation', 'dpor', '6.12', 3_528, 3_561),
    exploration('litmus/translation', 'dpor', 'legacy', 8, 8),
    exploration('litmus/permission', 'dpor', 'legacy', 42, 42),
    exploration('litmus/unmap-1', 'dpor', 'legacy', 387, 387),
    exploration('litmus/unmap-1', 'dpor', '6.12', 387, 387),
    exploration('litmus/unmap-read', 'dpor', '5.10', 96_046, 96_512),
    exploration('litmus/unmap-read', 'dpor', '6.12', 1_519_566, 1_595_544),
  ];
}

function exploration(
  workload: string,
  strategy: Exploration['strategy'],
  kvm: ProfileName | null,
  traces: number,
  schedules: number,
): Exploration {
  return { workload, strategy, kvm, traces, schedules };
}

/** Explores one in this thread; gives its line, and whether it came to its end with the numbers that it has to. */
export async function explorationLine(
  row: Exploration,
): Promise<{ readonly ok: boolean; readonly line: string }> {
  const { workload, strategy, kvm } = row;
  const before = process.cpuUsage();
  const options: ExploreOptions = { ...ALL_OF_IT, strategy, ...(kvm === null ? {} : { kvm }) };
  const result = await exploreWorkload(workload, options, undefined);
  const { user, system } = process.cpuUsage(before);
  const { ok, exhaustive, schedules, traces, finalStates } = result;
  const isAsExpected = traces === row.traces && schedules <= row.schedules;
  const line =
    `${workload}, ${strategy}${kvm === null ? '' : `, ${kvm}`}: ${ok && exhaustive ? 'exhaustive, passed' : 'FAILED'}` +
    `${isAsExpected ? '' : ` (expected ${row.traces} traces, at most ${row.schedules} schedules)`}, ${schedules} schedules, ` +
    `${traces} traces, ${finalStates} final states, ${((user + system) / 1e6).toFixed(1)} s CPU`;
  return { ok: ok && exhaustive && isAsExpected, line };
}
