import { z } from 'zod';
import { FAILURE_SITES, type FailureSite } from '../../machine/failure-point.ts';
import {
  LOG_ACTIONS,
  PAGE_ACTIONS,
  SLOT_ACTIONS,
  TRAP_ACTIONS,
  WHOLE_ACTIONS,
  type GuestStage1,
  type HostProgram,
  type PatternProgram,
  type SlotUserfault,
} from '../../workers/scenario.ts';
import { PROFILES, type ProfileName } from '../../kvm/profile.ts';
import { GRANULES, type Granule } from '../granule.ts';
import { afterColon, type Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** vCPUs of one VM, at most: what KVM/arm64 allows with GICv3. */
export const vcpusMax = 512;

/** VMs of one machine, at most. */
const vmsMax = 64;

/** Widths of physical addresses that machines have, and that reach the simulated RAM. */
const PA_BITS = [40, 42, 44, 48, 52];

/** Programs of the host that run at the same time, at most. */
const hostsMax = 16;

/** What the host has behind a slot. */
const BACKINGS = ['anonymous', 'transparent-huge', 'hugetlb', 'shared', 'device'] as const;

/** How dirty bits are cleared. */
const DIRTY_LOGS = ['harvest', 'clear', 'clear-all-set'] as const;

const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[];

type Maybe<T> = T | undefined;

/** A workload file with defaults filled in; sizes are in bytes. workloads/README.md says what each key means. */
export interface WorkloadFile {
  name: string;
  description: string;
  kvm?: Maybe<ProfileName>;
  vcpus: number;
  vms: number;
  machine: {
    granule: Granule;
    lpa2: boolean;
    paBits: number;
    fwb: boolean;
    xnx: boolean;
    tlbiRange: boolean;
    dic: boolean;
    cpus?: Maybe<number>;
    vmidBits: 4 | 8 | 16;
    speculation: boolean;
    memory?: Maybe<number>;
  };
  vm: {
    ipaBits: number;
    contents: 'page' | 'line';
    dirtyLog: (typeof DIRTY_LOGS)[number];
    dirtyRing?: Maybe<number>;
    stage1?: Maybe<GuestStage1>;
  };
  slots: SlotEntry[];
  setup: PhaseEntry[];
  rounds: PhaseEntry[];
  ending: PhaseEntry[];
  repeat: number;
  failures: FailureEntry[];
  /** Looked at where they are applied. */
  edits?: unknown;
  explore: {
    size?: Maybe<number>;
    repeat?: Maybe<number>;
    vcpus?: Maybe<number>;
    touches?: Maybe<number>;
  };
}

/** Attempts at a site that fail on purpose: the `first`, and every `every`th after it. */
export interface FailureEntry {
  site: FailureSite;
  first: number;
  every?: Maybe<number>;
}

export interface SlotEntry {
  name: string;
  base: number;
  size: number;
  logging: boolean;
  readonly: boolean;
  backing: (typeof BACKINGS)[number];
  /** Of hugetlb. */
  hugePage?: Maybe<number>;
  /** Of shared. */
  offset?: Maybe<number>;
  userfault?: Maybe<SlotUserfault>;
  snapshot: boolean;
  perVcpu?: Maybe<number>;
}

export interface PhaseEntry {
  name: string;
  guest?: Maybe<GuestEntry>;
  /** Each runs on a thread of its own. */
  hosts: HostEntry[];
}

export interface HostEntry {
  action: HostProgram['action'];
  times: number | 'until-done';
  slot?: Maybe<string>;
  pages?: Maybe<number>;
  base?: Maybe<number>;
  /** Of userfault: steps. */
  delay?: Maybe<number>;
}

/** A pattern or a trace; which of the other keys go with it is checked later. */
export interface GuestEntry {
  pattern?: Maybe<PatternProgram['pattern'] | 'prefault'>;
  trace?: Maybe<string>;
  slot?: Maybe<string>;
  region?: Maybe<'shared' | 'partitioned'>;
  touches?: Maybe<number>;
  writes?: Maybe<number>;
  stride?: Maybe<number>;
  exponent?: Maybe<number>;
  perVcpu?: Maybe<number>;
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/** Bytes of a size as people write it (`4096`, `0x1000`, `64K`, `16M`, `1GiB`), or null. */
export function parseSize(value: unknown): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  if (typeof value !== 'string') return null;
  const match = /^(0[xX][0-9a-fA-F]+|\d+) ?([KMGT]?)(?:i?B)?$/u.exec(value);
  if (!match) return null;
  const bytes = Number(match[1]) * (units[match[2] ?? ''] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

const size = z.unknown().transform((value, context): number => {
  const bytes = parseSize(value);
  if (bytes !== null) return bytes;
  const got = value === undefined ? 'missing' : 'not a size';
  context.addIssue({
    code: 'custom',
    message: `${got}: expected bytes as 4096, 0x1000, 64K, 16M or 1G`,
  });
  return z.NEVER;
});

/** A short name. */
export const identifier: z.ZodString = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/u,
    'expected a short name of letters, digits, "-", "_" and "."',
  );

const count = z.int().min(1);
const many = count.max(1_000_000_000);
const repeats = count.max(1_000_000);
const share = z.number().min(0).max(1);

const guest = z.strictObject({
  pattern: z.enum(['sequential', 'strided', 'random', 'zipf', 'prefault']).optional(),
  trace: z.string().min(1).optional(),
  slot: identifier.optional(),
  region: z.enum(['shared', 'partitioned']).optional(),
  touches: many.optional(),
  writes: share.optional(),
  stride: many.optional(),
  exponent: z.number().min(0.01).max(10).optional(),
  perVcpu: size.optional(),
});

const delayRange = 'expected a whole number from 0 to 1000000';

const host = z.strictObject({
  action: z.enum([
    'userfault',
    ...WHOLE_ACTIONS,
    ...PAGE_ACTIONS,
    ...LOG_ACTIONS,
    ...SLOT_ACTIONS,
    ...TRAP_ACTIONS,
  ]),
  slot: identifier.optional(),
  pages: many.optional(),
  base: size.optional(),
  delay: z.int(delayRange).min(0, delayRange).max(1_000_000, delayRange).optional(),
  times: z
    .union(
      [repeats, z.literal('until-done')],
      'expected a whole number from 1 to 1000000, or until-done',
    )
    .default(1),
});

const phase = z.strictObject({
  name: identifier,
  guest: guest.optional(),
  hosts: z.array(host).max(hostsMax).default([]),
});

const slot = z.strictObject({
  name: identifier,
  base: size,
  size,
  logging: z.boolean().default(false),
  readonly: z.boolean().default(false),
  backing: z.enum(BACKINGS).default('anonymous'),
  hugePage: size.optional(),
  offset: size.optional(),
  userfault: z
    .strictObject({
      mode: z.enum(['missing', 'minor']),
      queue: z.enum(['shared', 'per-vcpu', 'exit']).default('shared'),
    })
    .optional(),
  snapshot: z.boolean().default(false),
  perVcpu: size.optional(),
});

const stage1 = z.strictObject({
  vaBits: z.literal([39, 48]).default(48),
  accessFlag: z.enum(['preset', 'hardware']).default('preset'),
  dirtyState: z.boolean().default(false),
});

const workload: z.ZodType<WorkloadFile> = z.strictObject({
  name: identifier,
  description: z.string().min(1).max(400),
  kvm: z
    .enum(PROFILE_NAMES, `expected ${PROFILE_NAMES.map((name) => `"${name}"`).join(', ')}`)
    .optional(),
  vcpus: count.max(vcpusMax),
  vms: count.max(vmsMax).default(1),
  machine: z
    .strictObject({
      granule: z.enum(GRANULES).default('4K'),
      lpa2: z.boolean().default(false),
      paBits: z.literal(PA_BITS).default(48),
      fwb: z.boolean().default(false),
      xnx: z.boolean().default(false),
      tlbiRange: z.boolean().default(false),
      dic: z.boolean().default(false),
      cpus: count.max(vcpusMax).optional(),
      vmidBits: z.literal([4, 8, 16]).default(8),
      speculation: z.boolean().default(false),
      memory: size.optional(),
    })
    .prefault({}),
  vm: z
    .strictObject({
      ipaBits: z.int().min(32).max(52).default(40),
      contents: z.enum(['page', 'line']).default('page'),
      dirtyLog: z.enum(DIRTY_LOGS).default('harvest'),
      dirtyRing: count.max(65536).optional(),
      stage1: stage1.optional(),
    })
    .prefault({}),
  slots: z.array(slot).min(1),
  setup: z.array(phase).default([]),
  rounds: z.array(phase).default([]),
  ending: z.array(phase).default([]),
  repeat: repeats.default(1),
  failures: z
    .array(z.strictObject({ site: z.enum(FAILURE_SITES), first: many, every: many.optional() }))
    .default([]),
  edits: z.unknown().optional(),
  explore: z
    .strictObject({
      size: size.optional(),
      repeat: repeats.optional(),
      vcpus: count.max(vcpusMax).optional(),
      touches: many.optional(),
    })
    .prefault({}),
});

/** The document as a workload, defaults filled in. Throws a UserError about the first field that is wrong. */
export function checkShape(source: YamlSource): WorkloadFile {
  return checkAgainst(source, workload);
}

/** The same for any shape. */
export function checkAgainst<T>(source: YamlSource, shape: z.ZodType<T>): T {
  const result = shape.safeParse(source.value, { reportInput: true });
  if (result.success) return result.data;
  throw problemOf(source, result.error.issues[0]);
}

function problemOf(source: YamlSource, issue: z.core.$ZodIssue | undefined): Error {
  if (!issue) return source.problem([], 'not a workload');
  const path: Path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
  if (issue.code === 'unrecognized_keys') {
    return source.keyProblem(path, issue.keys[0] ?? '', 'unknown key');
  }
  if (path.length === 0) {
    return source.problem([], 'not a workload: expected keys such as name, vcpus, slots');
  }
  if (issue.code === 'invalid_type') return source.problem(path, typeProblem(issue));
  return source.problem(path, afterColon(issue.message));
}

function typeProblem({ expected, input }: z.core.$ZodIssueInvalidType): string {
  if (input === undefined) return `missing: expected ${nameOf(expected)}`;
  const got = Array.isArray(input)
    ? 'a list'
    : input !== null && typeof input === 'object'
      ? 'a mapping'
      : shown(input);
  return `expected ${nameOf(expected)}, not ${got}`;
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function nameOf(expected: string): string {
  const names: Readonly<Record<string, string>> = {
    int: 'a whole number',
    number: 'a number',
    string: 'a text',
    array: 'a list',
    object: 'a mapping',
    boolean: 'true or false',
  };
  return names[expected] ?? expected;
}
