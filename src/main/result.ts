/**
 * The JSON documents that commands write with `--json`. The keys are a contract with whoever reads them: keys may be added,
 * never renamed or dropped, and the schema's number goes up when a meaning changes.
 */
import type { Timeline } from '../explore/timeline.ts';
import type { ProfileName } from '../kvm/profile.ts';
import type { Granule, LeafSize } from './granule.ts';

/** The classes in which faults, walks and latencies are counted: by the fault status of the syndrome. */
export type FaultClass = 'translation' | 'permission' | 'access';

/** Software walks of the live stage-2 table per fault, between the fault's entry and its return. Null where none was counted. */
export interface WalkCounts {
  readonly faults: number;
  readonly min: number | null;
  readonly max: number | null;
  readonly mean: number | null;
}

/** Nanoseconds; null where nothing was sampled. */
export interface Percentiles {
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

/** What was timed of a lock, in nanoseconds, as lock_stat has it; null where nothing was. */
export interface LockTimes extends Percentiles {
  readonly min: number | null;
  readonly total: number | null;
  readonly mean: number | null;
}

/**
 * One lock in one mode. Every contended wait is timed; holds are sampled, one in `RunResult.sampling.hold`, and their total is that of the
 * sample. `type` is what `perf lock contention` calls it; the write side of SRCU is `synchronize`, which has no hold.
 */
export interface LockResult {
  readonly name: string;
  readonly mode: 'read' | 'write' | 'spin' | 'mutex';
  readonly type: 'spinlock' | 'mutex' | `${'rwsem' | 'rwlock' | 'srcu' | 'rcu'}:${'R' | 'W'}`;
  readonly acquisitions: number;
  readonly contended: number;
  readonly waitNs: LockTimes;
  readonly holdNs: LockTimes;
}

/** What a check found wrong. `schedule` is the command that runs it again; empty where the engine records none (threads). */
export interface Violation {
  readonly verdict: string;
  readonly message: string;
  /** What led to it: who held which locks, the last events on the entry. Only of checkers of tables. */
  readonly context?: readonly string[];
  readonly schedule: string;
}

/** The machine a result was taken on; wall-clock figures compare only within one. */
export interface Environment {
  readonly node: string;
  readonly v8: string;
  readonly cpu: string;
  readonly cores: number;
  /** Load average of the last minute, when the run began. */
  readonly load: number;
  readonly platform: string;
}

/** How often one phase ran and how long in all, in seconds. */
export interface PhaseResult {
  readonly name: string;
  readonly runs: number;
  readonly wallSeconds: number;
}

/** The document of `faultline run`. */
export interface RunResult {
  readonly schema: 'faultline.run/1';
  readonly ok: boolean;
  readonly workload: string;
  readonly engine: 'threads' | 'explore';
  readonly port: 'wasm' | 'js' | 'traced' | 'explore';
  /** Port `traced`: events that the checkers saw, of all seeds. */
  readonly trace?: { readonly events: number; readonly perSecond: number };
  readonly kvm: ProfileName;
  readonly vcpus: number;
  readonly seed: number;
  /** Seeds run one after another; figures are of all of them together. */
  readonly seeds: { readonly first: number; readonly count: number };
  readonly wallSeconds: number;
  readonly guestAccesses: number;
  readonly faults: {
    readonly total: number;
    readonly translation: number;
    readonly permission: number;
    readonly access: number;
    readonly retried: number;
    readonly perSecond: number;
  };
  /** Faulting accesses that were left to user space: writes to read-only memory, and accesses while their slot was away. */
  readonly exits: number;
  readonly walks: Readonly<Record<FaultClass, WalkCounts>>;
  readonly latencyNs: Readonly<Record<FaultClass, Percentiles>>;
  readonly locks: readonly LockResult[];
  /** Invalidations posted, by kind. */
  readonly tlbi: {
    readonly byIpa: number;
    readonly local: number;
    readonly range: number;
    readonly vmid: number;
    readonly all: number;
  };
  readonly tables: {
    /** Of the stage-2 table at the end, in hex; empty of a run that did not end (`check.digest` is `none`). */
    readonly digest: string;
    /** Table pages in use. */
    readonly pages: number;
    /** By size, each that the granule has: `4K`, `2M` and `1G`; `16K` and `32M`; `64K` and `512M`. */
    readonly leaves: Readonly<Partial<Record<LeafSize, number>>>;
  };
  /** With `--twin`: digests of the table and of its twin in canonical form, in hex (docs/twin.md). */
  readonly twin?: { readonly digests: readonly [string, string]; readonly equal: boolean };
  /**
   * Where dirty logs are harvested: harvests and pages that they copied, and how things stood at the end of the last seed: pages that are
   * still dirty in the harvested slots, and whether the copies equal guest memory byte for byte.
   */
  readonly migration?: {
    readonly harvests: number;
    readonly pagesCopied: number;
    readonly pagesDirty: number;
    readonly equal: boolean;
  };
  /** How the table was compared with the reference, and how many leaves the reference has. */
  readonly check: {
    readonly digest: 'exact' | 'after-write-protect' | 'pages' | 'torn-down' | 'none';
    readonly leaves: number;
  };
  /** What failed on purpose, of how many attempts, by site; absent without plans. Of the last seed. */
  readonly failures?: readonly {
    readonly site: string;
    readonly attempts: number;
    readonly failed: number;
  }[];
  /** One in N is timed; 1 is all of them. */
  readonly sampling: { readonly latency: number; readonly hold: number };
  /** Of all events of all seeds, in hex: equal for equal seeds. Null under `threads`, which has no event order. */
  readonly eventDigest: string | null;
  /** How many source edits the core ran with, and their fingerprint in hex; absent without edits. */
  readonly edits?: number;
  readonly editsHash?: string;
  readonly environment: Environment;
  readonly violations: readonly Violation[];
  readonly phases?: readonly PhaseResult[];
}

/** A verdict that an exploration came to, with the schedule of fewest preemptions that shows it. */
export interface ExploreViolation extends Violation {
  readonly steps: number;
  readonly preemptions: number;
  /** Executions that came to it. */
  readonly times: number;
  /** What its agents do, those that do nothing left out: operations that it does not need are left out, too. */
  readonly program: readonly {
    readonly agent: string;
    readonly operations: readonly string[];
  }[];
  /** What happens in it, step by step; of a long one the end. */
  readonly timeline?: Timeline;
}

/** The document of `faultline explore`. */
export interface ExploreResult {
  readonly schema: 'faultline.explore/1';
  readonly ok: boolean;
  readonly workload: string;
  /** Null of a litmus. */
  readonly kvm: ProfileName | null;
  readonly vcpus: number;
  readonly seed: number;
  readonly strategy: string;
  /** Steps after which one execution counted as endless. */
  readonly longest: number;
  /** What the strategy promises. */
  readonly bound: string;
  /** Every trace was executed, and each came to its end. */
  readonly exhaustive: boolean;
  /** Why it ended: `exhausted`, or the budget that was spent; `unfinished` of merged shards of which one has parts left. */
  readonly stopped: 'exhausted' | 'schedules' | 'steps' | 'seconds' | 'memory' | 'unfinished';
  /** Executions, those given up included. */
  readonly schedules: number;
  readonly abandoned: number;
  /** Distinct traces. */
  readonly traces: number;
  /** The estimated probability that one more execution is of a new trace; null of a strategy that is not random. */
  readonly unseen: number | null;
  readonly finalStates: number;
  readonly steps: number;
  readonly preemptions: number;
  readonly seconds: number;
  readonly environment: Environment;
  readonly violations: readonly ExploreViolation[];
}

/** The document of `faultline replay`. */
export interface ReplayResult {
  readonly schema: 'faultline.replay/1';
  readonly ok: boolean;
  readonly workload: string;
  readonly kvm: ProfileName | null;
  readonly vcpus: number;
  readonly seed: number;
  /** False if the schedule ended before the execution did. */
  readonly complete: boolean;
  readonly recordedSteps: number;
  readonly steps: number;
  readonly violations: readonly ExploreViolation[];
}

/** One figure of a benchmark, in `unit`; `ratioTo` divides its p50 by another's, named by the key. */
export interface BenchResult {
  readonly name: string;
  readonly kvm: ProfileName;
  readonly vcpus: number;
  readonly unit: string;
  readonly p50: number;
  readonly p99: number;
  readonly min: number;
  readonly ratioTo: Readonly<Record<string, number>>;
  readonly port?: 'wasm' | 'js' | 'traced' | 'explore' | 'native';
  /** Operations per second of all vCPUs together, at the p50. */
  readonly perSecond?: number;
}

/** The document of `faultline bench`. */
export interface BenchDocument {
  readonly schema: 'faultline.bench/1';
  readonly environment: Environment;
  readonly results: readonly BenchResult[];
}

/** A table pointer or a leaf of a dump; addresses are in bytes. */
export interface DumpedEntry {
  readonly ipa: number;
  readonly level: 0 | 1 | 2 | 3;
  readonly kind: 'table' | 'block' | 'page';
  /** The raw entry, as `0x` and 16 hexadecimal digits. */
  readonly descriptor: string;
  /** Output address of a leaf, next table of a table. */
  readonly oa: number;
  /** Fields by the Arm manual's names, decoded. Those that Linux never sets are here only when set. */
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** An entry that translates nothing and is not empty. */
export interface DumpedInvalid {
  readonly ipa: number;
  readonly level: 0 | 1 | 2 | 3;
  readonly descriptor: string;
  /** `is`: `stale`, `locked`, `owner` or `reserved`. */
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** The document of `faultline dump`: a stage-2 table as a run left it, and what `--from` reads. */
export interface DumpDocument {
  readonly schema: 'faultline.dump/1';
  readonly workload: string;
  readonly engine: 'threads' | 'explore';
  readonly kvm: string;
  readonly vcpus: number;
  readonly seed: number;
  readonly geometry: {
    readonly granule: Granule;
    readonly ipaBits: number;
    readonly startLevel: 0 | 1 | 2 | 3;
    readonly rootPages: number;
  };
  /** VTCR_EL2 and VTTBR_EL2, as `0x` and 16 hexadecimal digits. */
  readonly vtcr: string;
  readonly vttbr: string;
  /** Depth first, a table before its children; ranges are not merged. */
  readonly entries: readonly DumpedEntry[];
  readonly invalid: readonly DumpedInvalid[];
}
