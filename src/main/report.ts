import Table from 'cli-table3';
import type { Timeline } from '../explore/timeline.ts';
import type {
  BenchDocument,
  BenchResult,
  Environment,
  ExploreResult,
  ExploreViolation,
  FaultClass,
  LockResult,
  ReplayResult,
  RunResult,
  WalkCounts,
} from './result.ts';

const faultClasses: readonly FaultClass[] = ['translation', 'permission', 'access'];
const none = '-';

/** A run as a text for people, ending in a newline: what happened, what it cost, whether it held. */
export function runReport(result: RunResult): string {
  return [
    headline(result),
    '',
    faultTable(result),
    '',
    lockTable(result.locks),
    '',
    tlbiLine(result),
    tableLine(result),
    ...twinLines(result),
    ...migrationLines(result),
    retryLine(result),
    ...failureLines(result),
    ...exitLines(result),
    samplingLine(result),
    ...traceLines(result),
    environmentLine(result.environment),
    '',
    ...verdictLines(result),
    '',
  ].join('\n');
}

/** A benchmark as a text for people, ending in a newline. */
export function benchReport(document: BenchDocument): string {
  const generations = new Set(document.results.map(({ kvm }) => kvm));
  const rows = document.results.map((row) => [
    nameOfBench(row, generations.size > 1),
    String(row.vcpus),
    figure(row.p50, row.unit),
    figure(row.p99, row.unit),
    figure(row.min, row.unit),
    againstOf(row),
  ]);
  const text = table(['benchmark', 'vCPUs', 'p50', 'p99', 'min', 'against'], rows, [0, 5]);
  return [text, '', environmentLine(document.environment), ''].join('\n');
}

/** The profile, where there are several, or the port. */
function nameOfBench({ name, kvm, port }: BenchResult, areSeveral: boolean): string {
  if (areSeveral) return `${name} (${kvm})`;
  return port === undefined ? name : `${name} (${port})`;
}

function againstOf({ ratioTo, perSecond }: BenchResult): string {
  const ratios = Object.entries(ratioTo).map(([name, ratio]) => `${ratio.toFixed(2)}x ${name}`);
  const rate = perSecond === undefined ? [] : [`${number(Math.round(perSecond))} per second`];
  return [...rate, ...ratios].join(', ');
}

/** An exploration as a text for people, ending in a newline; `again`: arguments of `replay` after the schedule. */
export function exploreReport(result: ExploreResult, again: string): string {
  const { schedules, traces, finalStates, steps, preemptions, seconds, unseen } = result;
  const given = result.abandoned === 0 ? '' : ` (${number(result.abandoned)} given up)`;
  const perSecond = seconds > 0 ? `, ${number(Math.round(schedules / seconds))} per second` : '';
  const claim = result.exhaustive
    ? 'exhaustive: every trace was executed'
    : `not exhaustive: ${ENDS[result.stopped]}${unseenText(unseen)}`;
  return [
    `${explored(result)}, strategy ${result.strategy}, seed ${result.seed}`,
    `bound: ${result.bound}`,
    `${amount(schedules, 'schedule')}${given} in ${seconds.toFixed(2)} s${perSecond}: ` +
      `${amount(traces, 'trace')}, ${amount(finalStates, 'final state')}, ${amount(steps, 'step')}, ${amount(preemptions, 'preemption')}`,
    claim,
    '',
    ...(result.ok ? ['PASSED: no schedule violated anything'] : found(result.violations, again)),
    '',
  ].join('\n');
}

const ENDS: Readonly<Record<ExploreResult['stopped'], string>> = {
  exhausted: 'all that the bound says was executed',
  schedules: 'the schedules asked for are done',
  steps: 'the steps asked for are done',
  seconds: 'the time is over',
  memory: 'the memory is used up',
  unfinished: 'a shard has parts left',
};

function unseenText(unseen: number | null): string {
  if (unseen === null) return '';
  return `; about ${(100 * unseen).toFixed(1)} % of further schedules would be of traces not seen so far`;
}

/** A replay as a text for people, ending in a newline. */
export function replayReport(result: ReplayResult, again: string): string {
  const { steps, recordedSteps, complete, ok, violations } = result;
  const beyond =
    steps > recordedSteps ? `, ${number(steps - recordedSteps)} of them beyond it` : '';
  const open = complete ? [] : ['the schedule ends before the execution does: --continue goes on'];
  return [
    `${explored(result)}: a schedule of ${amount(recordedSteps, 'step')}, ${amount(steps, 'step')} taken${beyond}`,
    ...open,
    '',
    ...(ok ? ['PASSED: nothing was violated'] : found(violations, again)),
    '',
  ].join('\n');
}

function explored({ workload, vcpus, kvm }: ExploreResult | ReplayResult): string {
  const who = kvm === null ? amount(vcpus, 'thread') : `${amount(vcpus, 'vCPU')}, kvm ${kvm}`;
  return `${workload}: ${who}`;
}

function found(violations: readonly ExploreViolation[], again: string): string[] {
  return violations.flatMap(
    ({ verdict, message, schedule, steps, preemptions, times, program, timeline }) => [
      `VIOLATION ${verdict}: ${message}`,
      `  in ${amount(times, 'schedule')}; this one has ${amount(steps, 'step')} and ${amount(preemptions, 'preemption')}:`,
      `  faultline replay ${schedule}${again}`,
      ...program.map(programLine),
      ...(timeline === undefined ? [] : timelineLines(timeline)),
    ],
  );
}

/** Operations of one agent that are named. */
const OPERATIONS_SHOWN = 8;

function programLine({ agent, operations }: ExploreViolation['program'][number]): string {
  const more = operations.length - OPERATIONS_SHOWN;
  const shown = operations.slice(0, OPERATIONS_SHOWN).join(', ');
  return `  ${agent}: ${shown}${more > 0 ? ` and ${number(more)} more` : ''}`;
}

/** A column for each agent that takes a step, time downwards. */
function timelineLines({ agents, rows }: Timeline): string[] {
  const active = [...agents.keys()].filter((agent) => rows.some((row) => row.agent === agent));
  const cells = rows.map(({ step, agent, text, why }) => [
    String(step),
    ...active.map((column) => (column === agent ? text : '')),
    why,
  ]);
  const left = Array.from({ length: active.length + 1 }, (_, column) => column + 1);
  const isCut = rows.some(({ step }, row) => row === 0 && step > 1);
  return [
    ...(isCut ? [`  its last ${amount(rows.length, 'step')}:`] : []),
    table(
      ['step', ...active.map((agent) => agents[agent] as string), 'switched because'],
      cells,
      left,
    ),
  ];
}

/** A duration in nanoseconds with three digits and its unit; `-` for null. */
export function duration(nanoseconds: number | null): string {
  if (nanoseconds === null) return none;
  const steps: readonly [number, string][] = [
    [1e9, 's'],
    [1e6, 'ms'],
    [1e3, 'µs'],
  ];
  // Rounding to three digits may carry into the next unit: 999,999 ns are 1.00 ms.
  const [size, unit] = steps.find(([step]) => nanoseconds >= step * 0.9995) ?? [1, 'ns'];
  if (size === 1) return `${Math.round(nanoseconds)} ns`;
  const value = nanoseconds / size;
  return `${value >= 999.5 ? Math.round(value) : value.toPrecision(3)} ${unit}`;
}

function headline(result: RunResult): string {
  const { first, count } = result.seeds;
  const seeds = count === 1 ? `seed ${first}` : `seeds ${first} to ${first + count - 1}`;
  const engine = result.engine === 'threads' ? `threads (${result.port})` : result.engine;
  const edited = result.edits === undefined ? '' : `, ${amount(result.edits, 'source edit')}`;
  return [
    `${result.workload}: ${amount(result.vcpus, 'vCPU')}, engine ${engine}, kvm ${result.kvm}, ${seeds}${edited}`,
    `${amount(result.guestAccesses, 'guest access', 'guest accesses')} and ${amount(result.faults.total, 'fault')} in ` +
      `${result.wallSeconds.toFixed(2)} s: ${number(Math.round(result.faults.perSecond))} faults per second`,
  ].join('\n');
}

function faultTable(result: RunResult): string {
  const rows = faultClasses.map((name) => {
    const { p50, p90, p99, max } = result.latencyNs[name];
    return [
      name,
      number(result.faults[name]),
      walksEach(result.walks[name]),
      ...[p50, p90, p99, max].map(duration),
    ];
  });
  return table(['fault', 'count', 'walks each', 'p50', 'p90', 'p99', 'max'], rows, [0]);
}

function walksEach({ min, max, mean }: WalkCounts): string {
  if (min === null || max === null) return none;
  return min === max ? String(min) : `${min} to ${max}, mean ${(mean ?? 0).toFixed(2)}`;
}

/** The columns of lock_stat, and the type that `perf lock contention` shows. */
function lockTable(locks: readonly LockResult[]): string {
  if (locks.length === 0) return 'no locks were taken';
  const rows = locks.map(({ name, type, acquisitions, contended, waitNs, holdNs }) => [
    name,
    type,
    number(acquisitions),
    number(contended),
    ...[waitNs, holdNs].flatMap(({ min, max, total, mean }) =>
      [min, max, total, mean].map(duration),
    ),
  ]);
  const times = ['wait', 'hold'].flatMap((what) =>
    ['min', 'max', 'total', 'avg'].map((column) => `${what} ${column}`),
  );
  return table(['lock', 'type', 'acquired', 'contended', ...times], rows, [0, 1]);
}

function tlbiLine({ tlbi }: RunResult): string {
  const counts: readonly (readonly [number, string])[] = [
    [tlbi.byIpa, 'by IPA'],
    [tlbi.local, 'local'],
    [tlbi.range, 'by range'],
    [tlbi.vmid, 'by VMID'],
    [tlbi.all, 'of all'],
  ];
  return `TLB invalidations: ${counts.map(([count, kind]) => `${number(count)} ${kind}`).join(', ')}`;
}

function tableLine({ tables, check }: RunResult): string {
  if (check.digest === 'none') return 'stage-2 table: not looked at, as the run did not end';
  const leaves = Object.entries(tables.leaves)
    .filter(([, count]) => count > 0)
    .map(([size, count]) => `${number(count)} of ${size}`);
  const mapped = leaves.length === 0 ? 'no leaves' : `leaves ${leaves.join(', ')}`;
  return `stage-2 table: ${amount(tables.pages, 'page')}, ${mapped}, digest ${tables.digest}`;
}

function twinLines({ twin }: RunResult): string[] {
  if (twin === undefined) return [];
  const [live, other] = twin.digests;
  return [`twin table: digests ${live} and ${other}, ${twin.equal ? 'equal' : 'different'}`];
}

function migrationLines({ migration }: RunResult): string[] {
  if (migration === undefined) return [];
  const { harvests, pagesCopied, pagesDirty, equal } = migration;
  return [
    `dirty logs: ${amount(harvests, 'harvest')} copied ${amount(pagesCopied, 'page')}; ${amount(pagesDirty, 'page')} still dirty, ` +
      `the copy ${equal ? 'equals' : 'differs from'} guest memory`,
  ];
}

function retryLine({ faults }: RunResult): string {
  return `retried because the host changed the page meanwhile: ${number(faults.retried)}`;
}

function failureLines({ failures = [] }: RunResult): string[] {
  if (failures.length === 0) return [];
  const each = failures.map(
    ({ site, attempts, failed }) => `${site} ${number(failed)} of ${number(attempts)}`,
  );
  return [`failed on purpose: ${each.join(', ')}`];
}

function exitLines({ exits }: RunResult): string[] {
  return exits === 0
    ? []
    : [
        `left to user space, which dropped or repeated them: ${amount(exits, 'access', 'accesses')}`,
      ];
}

function samplingLine({ sampling, eventDigest }: RunResult): string {
  const text = `timed: ${oneIn(sampling.latency, 'fault')}, ${oneIn(sampling.hold, 'lock hold')}, every contended wait`;
  return eventDigest === null ? text : `${text}; event digest ${eventDigest}`;
}

function traceLines({ trace }: RunResult): string[] {
  if (trace === undefined) return [];
  const perSecond = number(Math.round(trace.perSecond));
  return [`checked as it ran: ${amount(trace.events, 'event')}, ${perSecond} per second`];
}

function oneIn(n: number, noun: string): string {
  return n === 1 ? `every ${noun}` : `one ${noun} in ${n}`;
}

function environmentLine({ cpu, cores, load, node, platform }: Environment): string {
  return `on ${amount(cores, 'core')} of ${cpu}, load ${load.toFixed(1)}, Node ${node}, ${platform}: a simulator's times, not hardware's`;
}

function verdictLines(result: RunResult): string[] {
  if (result.ok) {
    const { digest, leaves } = result.check;
    const pages = amount(leaves, 'page');
    if (digest === 'torn-down')
      return ['PASSED: no table is left, and every page of tables and of guests was given back'];
    if (digest === 'pages')
      return [`PASSED: every leaf maps the host's page, and no write to ${pages} was lost`];
    const how = digest === 'exact' ? '' : ' once all of it was write-protected';
    return [
      `PASSED: the table equals the reference${how} (${amount(leaves, 'leaf', 'leaves')}), and no write was lost`,
    ];
  }
  const lines = result.violations.flatMap(({ verdict, message, context = [] }) => [
    `  ${verdict}: ${message}`,
    ...context.map((line) => `    ${line}`),
  ]);
  // One seed is the last one run: the command is the same for all.
  const [first] = result.violations;
  const again = first === undefined || first.schedule === '' ? [] : [`again: ${first.schedule}`];
  return [`FAILED: ${amount(result.violations.length, 'violation')}`, ...lines, ...again];
}

function figure(value: number, unit: string): string {
  return unit === 'ns'
    ? duration(value)
    : `${value < 100 ? Number(value.toPrecision(3)) : number(Math.round(value))} ${unit}`;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function amount(count: number, one: string, many: string = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** Columns without borders; those in `left` start at the left, the others end at the right. */
function table(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly number[],
): string {
  const grid = new Table({
    head: [...heads],
    colAligns: heads.map((_, column) => (left.includes(column) ? 'left' : 'right')),
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  });
  grid.push(...rows.map((row) => [...row]));
  return grid.toString().replaceAll(/ +$/gmu, '');
}
