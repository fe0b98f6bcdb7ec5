import { loadWorkload } from '../src/main/workload/workload.ts';
import { DEFAULT_PROFILE, PROFILES, type ProfileName } from '../src/kvm/profile.ts';
import { runWorkload } from '../src/main/run.ts';
import { reshaped, shapeName, shapes, type Shape } from './reshaped.ts';

/** One run of the campaign. */
export interface CampaignRun {
  readonly workload: string;
  readonly engine: 'threads' | 'explore';
  /** `traced`: every event is checked. */
  readonly port: 'wasm' | 'js' | 'traced';
  readonly vcpus: number;
  readonly seeds: number;
  /** Repeat the rounds for so long; null: as the workload says. */
  readonly seconds: number | null;
  /** The machine and the size of its VM; null: as the workload says. */
  readonly shape: Shape | null;
  readonly kvm: ProfileName;
  /** Whether everything is done in a twin table, too. */
  readonly twin: boolean;
}

/** What runs on every shape of machine. */
const GUESTS = ['demand-paging', 'permission-storm', 'write-protect', 'real-program'] as const;

/** What the host does meanwhile. */
const HOSTS = [
  'access-flag',
  'storm',
  'short-storm',
  'guest-tables',
  'memslots',
  'migration',
  'failures',
  'teardown',
  'userfault',
  'snapshot-resume',
  'shared-cpus',
] as const;

/**
 * Runs by group. The guests' workloads on every port, with every number of vCPUs and on every shape of machine, then many schedules, then
 * long stress; the host's with every profile, for half a minute and for a thousand schedules, and on every shape of machine; all with a
 * twin in every profile; a storm of eight vCPUs and three hosts at a time, with each event checked, for a minute in every profile.
 */
export const CAMPAIGN_RUNS: Readonly<Record<string, () => CampaignRun[]>> = {
  guests: guestRuns,
  hosts: () => HOSTS.flatMap(hostRuns),
  twins: () => [...GUESTS, ...HOSTS].flatMap(twinRuns),
  checked: checkedRuns,
};

const ON_THREADS = {
  engine: 'threads',
  port: 'wasm',
  vcpus: 4,
  seeds: 1,
  seconds: null,
  shape: null,
  kvm: DEFAULT_PROFILE,
  twin: false,
} as const;
const UNDER_EXPLORE = { ...ON_THREADS, engine: 'explore', vcpus: 2 } as const;

const EVERY_PROFILE = Object.keys(PROFILES) as ProfileName[];

function hostRuns(workload: string): CampaignRun[] {
  const runs = EVERY_PROFILE.flatMap((kvm): CampaignRun[] => [
    { ...ON_THREADS, workload, kvm, seconds: 30 },
    { ...UNDER_EXPLORE, workload, kvm, seeds: 1000 },
  ]);
  const machines = shapes().map((shape) => ({ ...UNDER_EXPLORE, workload, seeds: 5, shape }));
  return [...runs, ...machines];
}

function checkedRuns(): CampaignRun[] {
  const storm = { ...ON_THREADS, workload: 'short-storm', port: 'traced', vcpus: 8 } as const;
  return EVERY_PROFILE.map((kvm) => ({ ...storm, kvm, seconds: 60 }));
}

function twinRuns(workload: string): CampaignRun[] {
  return EVERY_PROFILE.flatMap((kvm): CampaignRun[] => [
    { ...ON_THREADS, workload, kvm, twin: true, seeds: 2 },
    { ...UNDER_EXPLORE, workload, kvm, twin: true, seeds: 20 },
  ]);
}

function guestRuns(): CampaignRun[] {
  const matrix = GUESTS.flatMap((workload) =>
    [1, 2, 4, 8].flatMap((vcpus) =>
      (['wasm', 'js'] as const).map((port) => ({ ...ON_THREADS, workload, vcpus, port })),
    ),
  );
  const machines = shapes().flatMap((shape) =>
    GUESTS.flatMap((workload): CampaignRun[] => [
      { ...ON_THREADS, workload, vcpus: 3, shape },
      { ...UNDER_EXPLORE, workload, vcpus: 3, seeds: 50, shape },
    ]),
  );
  const schedules = GUESTS.flatMap((workload) =>
    [2, 3, 4].map((vcpus) => ({ ...UNDER_EXPLORE, workload, vcpus, seeds: 5000 })),
  );
  const stress = GUESTS.map((workload) => ({ ...ON_THREADS, workload, seconds: 60 }));
  return [...matrix, ...machines, ...schedules, ...stress];
}

/** Runs one entry; gives its line, and whether it passed. */
export async function campaignLine(
  run: CampaignRun,
): Promise<{ readonly ok: boolean; readonly line: string }> {
  const before = process.cpuUsage();
  const { shape, vcpus, kvm, twin } = run;
  const explore = run.engine === 'explore';
  const loaded = loadWorkload(run.workload, { vcpus, kvm, twin, explore });
  const scenario = shape === null ? loaded : reshaped(loaded, shape);
  const result = await runWorkload(scenario, { ...run, seed: 1 });
  const { user, system } = process.cpuUsage(before);
  const what = run.engine === 'threads' ? run.port : `explore, ${run.seeds} seeds`;
  const where = `${shape === null ? '' : `, ${shapeName(shape)}`}${twin ? ', with a twin' : ''}`;
  const { min, max } = result.walks.permission;
  const verdict = result.ok
    ? 'passed'
    : result.violations.map(({ verdict: word }) => word).join(' ');
  const { trace } = result;
  const events =
    trace === undefined
      ? ''
      : `${trace.events} events, ${(trace.perSecond / 1e6).toFixed(2)} million a second, `;
  const line =
    `${run.workload}, ${what}, ${vcpus} vCPUs, ${kvm}${where}: ${verdict}, ${result.faults.total} faults, ${events}` +
    `walks ${min ?? '-'}..${max ?? '-'}, ${((user + system) / 1e6).toFixed(1)} s CPU`;
  return { ok: result.ok, line };
}
