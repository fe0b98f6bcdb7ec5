import { loadWorkload } from '../src/main/workload/workload.ts';
import { runWorkload } from '../src/main/run.ts';
import { reshaped, shapeName, shapes, type Shape } from './reshaped.ts';

/** One run of the campaign. */
export interface CampaignRun {
  readonly workload: string;
  readonly engine: 'threads' | 'explore';
  readonly port: 'wasm' | 'js';
  readonly vcpus: number;
  readonly seeds: number;
  /** Repeat the rounds for so long; null: as the workload says. */
  readonly seconds: number | null;
  /** The machine and the size of its VM; null: as the workload says. */
  readonly shape: Shape | null;
}

const WORKLOADS = ['demand-paging', 'permission-storm', 'write-protect', 'real-program'] as const;

/** Every workload on every engine, port and number of vCPUs; on every shape of machine; then many schedules; then long stress. */
export function campaignPlan(): CampaignRun[] {
  const matrix = WORKLOADS.flatMap((workload) =>
    [1, 2, 4, 8].flatMap((vcpus) =>
      (['wasm', 'js'] as const).map((port): CampaignRun => {
        return { workload, engine: 'threads', port, vcpus, seeds: 1, seconds: null, shape: null };
      }),
    ),
  );
  const machines = shapes().flatMap((shape) =>
    WORKLOADS.flatMap((workload) =>
      (['threads', 'explore'] as const).map((engine): CampaignRun => {
        const seeds = engine === 'threads' ? 1 : 50;
        return { workload, engine, port: 'wasm', vcpus: 3, seeds, seconds: null, shape };
      }),
    ),
  );
  const schedules = WORKLOADS.flatMap((workload) =>
    [2, 3, 4].map((vcpus): CampaignRun => {
      return {
        workload,
        engine: 'explore',
        port: 'wasm',
        vcpus,
        seeds: 5000,
        seconds: null,
        shape: null,
      };
    }),
  );
  const stress = WORKLOADS.map((workload): CampaignRun => {
    return {
      workload,
      engine: 'threads',
      port: 'wasm',
      vcpus: 4,
      seeds: 1,
      seconds: 60,
      shape: null,
    };
  });
  return [...matrix, ...machines, ...schedules, ...stress];
}

/** Runs one entry; gives its line, and whether it passed. */
export async function campaignLine(
  run: CampaignRun,
): Promise<{ readonly ok: boolean; readonly line: string }> {
  const before = process.cpuUsage();
  const { shape, vcpus } = run;
  const loaded = loadWorkload(run.workload, { vcpus, explore: run.engine === 'explore' });
  const scenario = shape === null ? loaded : reshaped(loaded, shape);
  const result = await runWorkload(scenario, { ...run, seed: 1 });
  const { user, system } = process.cpuUsage(before);
  const what = run.engine === 'threads' ? run.port : `explore, ${run.seeds} seeds`;
  const where = shape === null ? '' : `, ${shapeName(shape)}`;
  const { min, max } = result.walks.permission;
  const verdict = result.ok
    ? 'passed'
    : result.violations.map(({ verdict: word }) => word).join(' ');
  const line =
    `${run.workload}, ${what}, ${vcpus} vCPUs${where}: ${verdict}, ${result.faults.total} faults, ` +
    `walks ${min ?? '-'}..${max ?? '-'}, ${((user + system) / 1e6).toFixed(1)} s CPU`;
  return { ok: result.ok, line };
}
