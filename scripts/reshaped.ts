/** Shipped workloads on machines of other shapes: their files are about one machine, their programs are not. */
import { ARMV8_0 } from '../src/machine/features.ts';
import { pageBytesOf, type MachineShape } from '../src/machine/shape.ts';
import {
  TRACE_PAGE_BYTES,
  isSlotProgram,
  movesPages,
  type Course,
  type Phase,
  type Scenario,
  type Slot,
  type TraceProgram,
} from '../src/workers/scenario.ts';

/** A machine, and the size of the VM on it. */
export interface Shape {
  readonly machine: MachineShape;
  readonly ipaBits: number;
}

/** Pages of a slot that a pattern runs over, at most: a workload's size is about pages of 4 KiB. */
const PAGES_MAX = 1024;
/** Where a trace of more bits is folded into, and how far its copies for vCPUs are then apart. */
const FOLD_BYTES = 2 ** 28;

/** Every granule, with LPA2 where there is one, each with VMs of all sizes, without and with FWB and two-bit XN. */
export function shapes(): Shape[] {
  const formats = [
    { pageShift: 12, lpa2: false },
    { pageShift: 12, lpa2: true },
    { pageShift: 14, lpa2: false },
    { pageShift: 14, lpa2: true },
    { pageShift: 16, lpa2: false },
  ];
  return formats.flatMap((format) =>
    [32, 40, 48, 52]
      .filter((ipaBits) => ipaBits <= 48 || format.lpa2 || format.pageShift === 16)
      .flatMap((ipaBits) =>
        [false, true].map((late) => {
          const paBits = ipaBits > 48 ? 52 : 48;
          const features = { ...ARMV8_0, paBits, fwb: late, xnx: late };
          return { machine: { ...format, features }, ipaBits };
        }),
      ),
  );
}

/** What a shape is called: `16K LPA2 FWB XNX, 52 bits`. */
export function shapeName({ machine, ipaBits }: Shape): string {
  const { fwb, xnx } = machine.features;
  const words = [
    `${pageBytesOf(machine) / 1024}K`,
    machine.lpa2 ? 'LPA2' : '',
    fwb ? 'FWB' : '',
    xnx ? 'XNX' : '',
  ].filter((word) => word !== '');
  return `${words.join(' ')}, ${ipaBits} bits`;
}

/**
 * The scenario, of pages of 4 KiB, on another machine. Slots of patterns keep their number of pages and move to the upper half of the
 * VM's addresses; slots of traces are rounded outwards, and a trace that these addresses cannot hold is folded into fewer.
 */
export function reshaped(scenario: Scenario, { machine: given, ipaBits }: Shape): Scenario {
  const machine = withUpdates(given, scenario);
  const pageBytes = pageBytesOf(machine);
  const trace = traceOf(scenario);
  const folded = trace === null ? scenario : foldedInto(scenario, trace, ipaBits);
  const slots = folded.slots.map((slot) =>
    trace === null
      ? samePages(slot, pageBytes, upperHalf(scenario, ipaBits))
      : outwards(slot, pageBytes),
  );
  const pages = slots.reduce((sum, slot) => sum + slot.bytes / pageBytes, 0);
  // What moves pages needs somewhere to put them.
  const frames = pages * (movesPages(scenario) ? 2 : 1);
  const course = movedCourse(folded, 2 ** (ipaBits - 1));
  return { ...folded, ...course, machine, ipaBits, slots, frames };
}

/** Addresses that host programs name move with the slots. */
function movedCourse({ setup, rounds, ending }: Course, half: number): Course {
  const moved = (phase: Phase): Phase => ({
    ...phase,
    hosts: phase.hosts.map((host) =>
      isSlotProgram(host) ? { ...host, base: half + host.base } : host,
    ),
  });
  return { setup: setup.map(moved), rounds: rounds.map(moved), ending: ending.map(moved) };
}

/** Hardware that updates a guest's tables is what a guest with stage 1 was written for. */
function withUpdates(machine: MachineShape, { machine: own }: Scenario): MachineShape {
  const { hardwareAccessFlag } = own.features;
  return { ...machine, features: { ...machine.features, hardwareAccessFlag } };
}

/** A guest's descriptors hold addresses of 48 bits. */
function upperHalf({ stage1 }: Scenario, ipaBits: number): number {
  return 2 ** ((stage1 === undefined ? ipaBits : Math.min(ipaBits, 48)) - 1);
}

function traceOf({ setup, rounds }: Scenario): TraceProgram | null {
  const programs = [...setup, ...rounds].map(({ guest }) => guest);
  return programs.find((guest) => guest?.kind === 'trace') ?? null;
}

function samePages(slot: Slot, pageBytes: number, half: number): Slot {
  const { base, bytes, backing } = slot;
  const pages = Math.min(bytes / TRACE_PAGE_BYTES, PAGES_MAX);
  const placed = { ...slot, base: half + base, bytes: pages * pageBytes };
  return backing === undefined ? placed : { ...placed, backing: { ...backing, pageBytes } };
}

function outwards({ base, bytes, logging }: Slot, pageBytes: number): Slot {
  const first = Math.floor(base / pageBytes) * pageBytes;
  const end = Math.ceil((base + bytes) / pageBytes) * pageBytes;
  return { base: first, bytes: end - first, logging };
}

function foldedInto(scenario: Scenario, trace: TraceProgram, ipaBits: number): Scenario {
  if (scenario.slots.every(({ base, bytes }) => base + bytes < 2 ** ipaBits)) return scenario;
  const perVcpu = trace.vcpuPages * TRACE_PAGE_BYTES;
  const slots = scenario.slots.map((slot) => {
    const vcpu = Math.floor(slot.base / perVcpu);
    return { ...slot, base: (slot.base % FOLD_BYTES) + vcpu * FOLD_BYTES };
  });
  return {
    ...scenario,
    slots,
    setup: scenario.setup.map(foldedPhase),
    rounds: scenario.rounds.map(foldedPhase),
  };
}

function foldedPhase(phase: Phase): Phase {
  const { guest } = phase;
  if (guest?.kind !== 'trace') return phase;
  const vcpuPages = FOLD_BYTES / TRACE_PAGE_BYTES;
  return { ...phase, guest: { ...guest, pages: guest.pages.map((p) => p % vcpuPages), vcpuPages } };
}
