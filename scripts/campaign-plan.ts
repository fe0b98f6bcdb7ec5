import { loadWorkload } from '../src/main/workload.ts';
import { runWorkload } from '../src/main/run.ts';

/** One run of the campaign. */
export interface CampaignRun {
  readonly workload: string;
  readonly engine: 'threads' | 'explore';
  readonly port: 'wasm' | 'js';
  readonly vcpus: number;
  readonly seeds: number;
  /** Repeat the rounds for so long; null: as the workload says. */
  readonly seconds: number | null;
}

const WORKLOADS = ['demand-paging', 'permission-storm', 'write-protect', 'real-program'] as const;

/** Every workload on every engine, port and number of vCPUs; then many schedules; then long stress. */
export function campaignPlan(): CampaignRun[] {
  const matrix = WORKLOADS.flatMap((workload) =>
    [1, 2, 4, 8].flatMap((vcpus) =>
      (['wasm', 'js'] as const).map((port): CampaignRun => {
        return { workload, engine: 'threads', port, vcpus, seeds: 1, seconds: null };
      }),
    ),
  );
  const schedules = WORKLOADS.flatMap((workload) =>
    [2, 3, 4].map((vcpus): CampaignRun => {
      return { workload, engine: 'explore', port: 'wasm', vcpus, seeds: 5000, seconds: null };
    }),
  );
  const stress = WORKLOADS.map((workload): CampaignRun => {
    return { workload, engine: 'threads', port: 'wasm', vcpus: 4, seeds: 1, seconds: 60 };
  });
  return [...matrix, ...schedules, ...stress];
}

/** Runs one entry; gives its line, and whether it passed. */
export async function campaignLine(
  run: CampaignRun,
): Promise<{ readonly ok: boolean; readonly line: string }> {
  const before = process.cpuUsage();
  const scenario = loadWorkload(run.workload, {
    vcpus: run.vcpus,
    explore: run.engine === 'explore',
  });
  const result = await runWorkload(scenario, { ...run, seed: 1 });
  const { user, system } = process.cpuUsage(before);
  const what = run.engine === 'threads' ? run.port : `explore, ${run.seeds} seeds`;
  const { min, max } = result.walks.permission;
  const verdict = result.ok
    ? 'passed'
    : result.violations.map(({ verdict: word }) => word).join(' ');
  const line =
    `${run.workload}, ${what}, ${run.vcpus} vCPUs: ${verdict}, ${result.faults.total} faults, ` +
    `walks ${min ?? '-'}..${max ?? '-'}, ${((user + system) / 1e6).toFixed(1)} s CPU`;
  return { ok: result.ok, line };
}
