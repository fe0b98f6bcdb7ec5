/** The programs of a scenario as operations, and the scenario without some of them. */
import type { Program, Remainder } from '../../explore/remainder.ts';
import { nameOf } from '../../workers/agents.ts';
import { layoutOf, type Layout } from '../../workers/layout.ts';
import { expandProgram } from '../../workers/program.ts';
import {
  isHandler,
  phasesOf,
  type HostProgram,
  type Phase,
  type Scenario,
} from '../../workers/scenario.ts';

const KINDS = ['read', 'write', 'exec'];

/**
 * What can be left out: accesses of guests, and passes of the host. What is done until the guests are done is one operation; whoever serves
 * userfaults, and what is mapped in advance, stays.
 */
export function programsOf(scenario: Scenario, seed: number): readonly Program[] {
  const layout = layoutOf(scenario);
  return phasesOf(scenario).flatMap((each, phase) => [
    ...guestPrograms(scenario, layout, each, seed).map((program) => ({ ...program, phase })),
    ...each.hosts
      .map((host, i) => ({ agent: scenario.vcpus + i, operations: passesOf(each, host), phase }))
      .filter(({ operations }) => operations.length > 0),
  ]);
}

function guestPrograms(
  scenario: Scenario,
  layout: Layout,
  { name, guest }: Phase,
  seed: number,
): Omit<Program, 'phase'>[] {
  if (guest === null || guest.kind === 'prefault') return [];
  return Array.from({ length: scenario.vcpus }, (_, agent) => {
    const { ipas, kinds } = expandProgram(scenario, layout, guest, { vcpu: agent, seed });
    const operations = Array.from(
      ipas,
      (ipa, i) => `${name}: ${KINDS[kinds[i] as number]} 0x${ipa.toString(16)}`,
    );
    return { agent, operations };
  });
}

function passesOf({ name }: Phase, host: HostProgram): string[] {
  if (isHandler(host)) return [];
  return Array.from({ length: host.times ?? 1 }, () => `${name}: ${host.action}`);
}

/** The scenario of which no more is done than is left. */
export function reducedScenario(scenario: Scenario, rests: readonly Remainder[]): Scenario {
  let first = 0;
  const reduced = (phases: readonly Phase[]): Phase[] => {
    const from = first;
    first += phases.length;
    return phases.map((phase, i) => reducedPhase(phase, scenario.vcpus, ofPhase(rests, from + i)));
  };
  const { setup, rounds, ending } = scenario;
  return { ...scenario, setup: reduced(setup), rounds: reduced(rounds), ending: reduced(ending) };
}

/** What is left for each agent. */
type Rests = ReadonlyMap<number, readonly number[]>;

function ofPhase(rests: readonly Remainder[], phase: number): Rests {
  const own = rests.filter((rest) => rest.phase === phase);
  return new Map(own.map(({ agent, kept }) => [agent, kept]));
}

function reducedPhase(phase: Phase, vcpus: number, rests: Rests): Phase {
  if (rests.size === 0) return phase;
  const kept = Array.from({ length: vcpus }, (_, vcpu) => rests.get(vcpu) ?? null);
  const { guest } = phase;
  return {
    ...phase,
    guest: guest === null || guest.kind === 'prefault' ? guest : { ...guest, kept },
    hosts: phase.hosts.map((host, i) => {
      const left = rests.get(vcpus + i);
      return left === undefined || isHandler(host) ? host : { ...host, times: left.length };
    }),
  };
}

/** What is left of all programs, by the name of the agent that does it. */
export function leftOf(
  programs: readonly Program[],
  rests: readonly Remainder[],
  agentName: (agent: number) => string,
): readonly { readonly agent: string; readonly operations: readonly string[] }[] {
  const left = new Map<number, string[]>();
  for (const { phase, agent, operations } of programs) {
    const rest = rests.find((each) => each.phase === phase && each.agent === agent);
    const kept = operations.filter((_, index) => rest === undefined || rest.kept.includes(index));
    left.set(agent, [...(left.get(agent) ?? []), ...kept]);
  }
  return [...left]
    .filter(([, operations]) => operations.length > 0)
    .toSorted(([one], [other]) => one - other)
    .map(([agent, operations]) => ({ agent: agentName(agent), operations }));
}

/** What reports call the agents of a scenario. */
export function agentNames(scenario: Scenario): (agent: number) => string {
  const layout = layoutOf(scenario);
  return (agent) => nameOf(layout, agent);
}
