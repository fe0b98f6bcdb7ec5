/** What a WORKLOAD argument means for exploring: a litmus or a workload, and the hash by which its schedules know it. */
import { createHash } from 'node:crypto';
import type { Program, Remainder } from '../../explore/remainder.ts';
import type { Subject } from '../../explore/subject.ts';
import type { ProfileName } from '../../kvm/profile.ts';
import type { SourceEdit } from '../edits.ts';
import { UserError } from '../user-error.ts';
import { workloadSource } from '../workload/source.ts';
import { loadEditedWorkload } from '../workload/workload.ts';
import { YamlSource } from '../yaml-source.ts';
import { InstallSubject, installPrograms, threadName } from './install-subject.ts';
import { isLitmus, litmusOf } from './litmus-file.ts';
import { agentNames, programsOf, reducedScenario } from './reduced.ts';
import { VmSubject } from './vm-subject.ts';

/** Goes up when the same scenario and schedule come to mean another execution. */
const ENGINE_VERSION = 1;
const HASH_DIGITS = 8;

export interface Overrides {
  readonly vcpus?: number | undefined;
  readonly kvm?: ProfileName | undefined;
  /** Source edits that the code under test runs with: those of this thread's modules. */
  readonly edits?: readonly SourceEdit[] | undefined;
}

export interface Target {
  readonly name: string;
  /** Null of a litmus. */
  readonly kvm: ProfileName | null;
  /** vCPUs, or threads of a litmus. */
  readonly vcpus: number;
  /** Of all that decides about an execution but its schedule and seed: 8 hexadecimal digits. */
  readonly hash: string;
  /** `seed`: of what is random in the scenario itself; `rests`: of programs that are not whole. */
  readonly subjectOf: (seed: number, rests?: readonly Remainder[]) => Subject;
  /** What its agents do, as operations that can be left out. */
  readonly programsOf: (seed: number) => readonly Program[];
  /** What reports call an agent. */
  readonly agentName: (agent: number) => string;
}

/** @throws UserError about the argument, the file or the first field that is wrong. */
export function loadTarget(argument: string, overrides: Overrides): Target {
  const { source } = workloadSource(argument);
  if (isLitmus(source)) return litmusTarget(source, overrides);
  const { scenario } = loadEditedWorkload(argument, { ...overrides, explore: true });
  const { name, kvm, vcpus } = scenario;
  return {
    name,
    kvm,
    vcpus,
    hash: hashOf(scenario, overrides),
    subjectOf: (seed, rests = []) => new VmSubject(reducedScenario(scenario, rests), seed),
    programsOf: (seed) => programsOf(scenario, seed),
    agentName: agentNames(scenario),
  };
}

function litmusTarget(source: YamlSource, overrides: Overrides): Target {
  const { vcpus, kvm } = overrides;
  const litmus = litmusOf(source);
  for (const [flag, value] of Object.entries({ vcpus, kvm })) {
    if (value !== undefined) throw new UserError(`--${flag}: not with a litmus (${litmus.name})`);
  }
  const { name, threads, faults } = litmus;
  const hash = hashOf({ scenario: litmus.scenario, threads, faults }, overrides);
  return {
    name,
    kvm: null,
    vcpus: threads,
    hash,
    subjectOf: (_, rests) => new InstallSubject(litmus, rests),
    programsOf: () => installPrograms(litmus),
    agentName: threadName,
  };
}

function hashOf(scenario: object, { edits = [] }: Overrides): string {
  const text = JSON.stringify([ENGINE_VERSION, scenario, ...edits], (_, value: unknown) =>
    value instanceof Uint8Array || value instanceof Uint32Array ? digestOf(value) : value,
  );
  return digestOf(text).slice(0, HASH_DIGITS);
}

function digestOf(data: string | Uint8Array | Uint32Array): string {
  return createHash('sha256').update(data).digest('hex');
}
