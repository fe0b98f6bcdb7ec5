/**
 * A scenario: what a run does, as plain data. A workload file is validated into one; everything below `main` takes it as legal.
 */
import type { ProfileName } from '../kvm/profile.ts';
import type { DirtyLogMode } from '../kvm/dirty-log.ts';
import type { UserfaultMode } from '../kvm/host/userfault.ts';
import type { VmaKind } from '../kvm/host/vma.ts';
import type { FailurePlan } from '../machine/failure-point.ts';
import type { MachineShape } from '../machine/shape.ts';

export type AccessKind = 'read' | 'write' | 'exec';

/** The host memory behind a slot: an area of its own. */
export interface Backing {
  readonly kind: VmaKind;
  /** Bytes of a page of kind `hugetlb`; otherwise those of a base page. */
  readonly pageBytes: number;
  /** Of kind `shared`: where in the shared object the slot begins, bytes. */
  readonly offset: number;
}

/** Who resolves the faults of a registered slot: handlers of one queue or of one for each vCPU, or the vCPU that faulted. */
export type UserfaultDelivery = 'shared' | 'per-vcpu' | 'exit';

/** A slot's registration with userfaultfd, from the beginning of a run. */
export interface SlotUserfault {
  readonly mode: UserfaultMode;
  readonly queue: UserfaultDelivery;
}

/** A memslot: guest-physical start and length in bytes, both multiples of the page size. */
export interface Slot {
  readonly base: number;
  readonly bytes: number;
  readonly logging: boolean;
  /** A write of a guest is for user space, which drops it. */
  readonly isReadonly?: boolean;
  /** Absent: anonymous memory. */
  readonly backing?: Backing;
  /** Of anonymous and shared memory. */
  readonly userfault?: SlotUserfault;
  /** Its memory begins with the contents of a snapshot, see snapshot.ts; otherwise with zeros. */
  readonly snapshot?: boolean;
}

/** Whether the slot's memory is registers: never executed, logged, discarded or moved. */
export function isDevice({ backing }: Slot): boolean {
  return backing?.kind === 'pfnmap';
}

/** Where a program's touches fall: pages of one slot, all of them ('shared') or this vCPU's equal share ('partitioned'). */
export type Region = 'shared' | 'partitioned';

/** Part of a program: what was left out broke nothing. */
interface Reducible {
  /** For each vCPU the indexes of the accesses that it makes, ascending; null is all. Absent: all of all. */
  readonly kept?: readonly (readonly number[] | null)[];
}

export interface PatternProgram extends Reducible {
  readonly kind: 'pattern';
  readonly pattern: 'sequential' | 'strided' | 'random' | 'zipf';
  /** Index into `Scenario.slots`. */
  readonly slot: number;
  readonly region: Region;
  /** Accesses per vCPU; null is once per page of its region. */
  readonly touches: number | null;
  /** Share of writes, 0 to 1. */
  readonly writes: number;
  /** Pages from one touch to the next, for 'strided'; 1 otherwise. */
  readonly stride: number;
  /** Exponent of the distribution, for 'zipf'. */
  readonly exponent: number;
}

/** Bytes of a page of a memory trace. */
export const TRACE_PAGE_BYTES = 4096;

/**
 * A memory trace: page number (IPA >>> 12, whatever the granule) and kind (0 read, 1 write, 2 exec) of each access, in order.
 * vCPU i replays it at page + i * vcpuPages.
 */
export interface TraceProgram extends Reducible {
  readonly kind: 'trace';
  readonly pages: Uint32Array;
  readonly kinds: Uint8Array;
  readonly vcpuPages: number;
}

/** No accesses: the thread of each vCPU has KVM map the pages of its region. */
export interface PreFaultProgram {
  readonly kind: 'prefault';
  /** Index into `Scenario.slots`. */
  readonly slot: number;
  readonly region: Region;
}

export type GuestProgram = PatternProgram | TraceProgram | PreFaultProgram;

/** What the host does to single pages of a slot's memory, contents kept. */
export const PAGE_ACTIONS = [
  'migrate',
  'swap',
  'collapse',
  'split',
  'merge',
  'protect',
  'age',
] as const;
export type PageAction = (typeof PAGE_ACTIONS)[number];

/** What user space does with the dirty log of a slot: turns it on and off, and harvests it (src/workers/harvest.ts). */
export const LOG_ACTIONS = ['log-start', 'log-stop', 'harvest'] as const;
export type LogAction = (typeof LOG_ACTIONS)[number];

/** What it does to a whole slot, and undoes before a pass is over. */
export const SLOT_ACTIONS = ['add-slot', 'replace-slot', 'move-slot', 'ioremap'] as const;
export type SlotAction = (typeof SLOT_ACTIONS)[number];

/** What a vCPU does that traps and changes the memory of all: cache maintenance by set/way with caches off and on, a reset. */
export const TRAP_ACTIONS = ['set-way', 'reset'] as const;
export type TrapAction = (typeof TRAP_ACTIONS)[number];

/**
 * What it does to all slots at once, or to all dirty rings; 'teardown' is the end of its address space. 'short-lived-vm' does nothing to them: a
 * few other VMs start, take a VMID for their first entry, and are gone.
 */
export const WHOLE_ACTIONS = [
  'write-protect',
  'discard',
  'teardown',
  'collect-rings',
  'short-lived-vm',
] as const;
export type WholeAction = (typeof WHOLE_ACTIONS)[number];

interface Repeated {
  /** How often; null is again and again until the vCPUs of the phase are done. */
  readonly times: number | null;
}

/** What may send guests back that fault meanwhile, and so pauses. */
interface Paced extends Repeated {
  /** Faulting accesses of guests that get through between two steps; 0: no pause. */
  readonly delay: number;
}

export interface PageProgram extends Paced {
  readonly action: PageAction;
  /** Index into `Scenario.slots`. */
  readonly slot: number;
  /** Pages that each pass draws; null is all, in order. */
  readonly pages: number | null;
}

export interface LogProgram extends Paced {
  readonly action: LogAction;
  /** Index into `Scenario.slots`. */
  readonly slot: number;
}

export interface SlotProgram extends Paced {
  readonly action: SlotAction;
  /** Index into `Scenario.slots`. */
  readonly slot: number;
  /** Guest physical address, whole pages: of the second slot over its memory, or where it goes; where it is, for 'replace-slot'. Of 'ioremap': where the registers are mapped. */
  readonly base: number;
}

export interface TrapProgram extends Paced {
  readonly action: TrapAction;
}

export interface WholeProgram extends Repeated {
  readonly action: WholeAction;
}

/** Serves a queue of userfaults until everybody else is done with the phase. */
export interface HandlerProgram {
  readonly action: 'userfault';
  /** Index into `Scenario.slots`, of a registered slot. */
  readonly slot: number;
  /** Which of the slot's queues. */
  readonly queue: number;
  /** What it does between a message and its resolution. */
  readonly delaySteps: number;
}

/** What one agent of the host does in a phase. */
export type HostProgram = PacedProgram | WholeProgram | HandlerProgram;
export type PacedProgram = PageProgram | LogProgram | SlotProgram | TrapProgram;

/** Whether a value is one of a list's. */
export function isOneOf<T>(list: readonly T[], value: unknown): value is T {
  return list.some((known) => known === value);
}

export function isHandler(program: HostProgram): program is HandlerProgram {
  return program.action === 'userfault';
}

export function isPageProgram(program: HostProgram): program is PageProgram {
  return isOneOf(PAGE_ACTIONS, program.action);
}

export function isLogProgram(program: HostProgram): program is LogProgram {
  return isOneOf(LOG_ACTIONS, program.action);
}

export function isSlotProgram(program: HostProgram): program is SlotProgram {
  return isOneOf(SLOT_ACTIONS, program.action);
}

export function isTrapProgram(program: HostProgram): program is TrapProgram {
  return isOneOf(TRAP_ACTIONS, program.action);
}

/** Whether it pauses between its steps. */
function isPaced(program: HostProgram): program is PacedProgram {
  return 'delay' in program;
}

/** Whether it waits for guests in a pause. */
export function waitsForGuests(program: HostProgram): boolean {
  return isPaced(program) && program.delay > 0;
}

/** Whether the host clears access flags: to see what is used, or before it swaps a page out. */
export function agesPages(scenario: Scenario): boolean {
  return does(scenario, 'age') || does(scenario, 'swap');
}

/** Whether the host may have huge pages, which are mapped as blocks. */
export function mapsBlocks(scenario: Scenario): boolean {
  return scenario.slots.some(isHuge) || does(scenario, 'collapse');
}

function isHuge({ backing }: Slot): boolean {
  return backing?.kind === 'hugetlb' || backing?.kind === 'transparentHuge';
}

/** Whether a slot of guests is away at times. */
export function takesSlotsAway(scenario: Scenario): boolean {
  return does(scenario, 'replace-slot') || does(scenario, 'move-slot');
}

/** A guest that turns its stage 1 on, with the 4K granule, whatever the host's is. */
export interface GuestStage1 {
  readonly vaBits: 39 | 48;
  /** Who sets access flags: hardware, or the guest beforehand. */
  readonly accessFlag: 'hardware' | 'preset';
  /** Whether hardware finds out what was written; with the access flag by hardware only. */
  readonly dirtyState: boolean;
}

/** What vCPUs and host agents do at the same time; a barrier ends it. */
export interface Phase {
  readonly name: string;
  readonly guest: GuestProgram | null;
  /** One program for each host agent; those beyond the list have nothing to do. */
  readonly hosts: readonly HostProgram[];
}

export interface Scenario {
  readonly name: string;
  readonly description: string;
  /** The generation of the code under test. */
  readonly kvm: ProfileName;
  /** Every change of the stage-2 table is made in a second table, too, by the other generation's code, and both are compared. */
  readonly twin: boolean;
  readonly vcpus: number;
  /** VMs, each with all of the slots, among which the vCPUs are dealt out in turn; absent: one. */
  readonly vms?: number;
  readonly machine: MachineShape;
  readonly ipaBits: number;
  /** Host RAM for guest pages, in frames of the machine's page size. */
  readonly frames: number;
  /** What is kept of a guest frame: all of it, or 64 bytes. */
  readonly contents: 'page' | 'line';
  /** Who clears the bits of a dirty log, and how a log begins. */
  readonly dirtyLog: DirtyLogMode;
  readonly slots: readonly Slot[];
  /** Entries of each vCPU's dirty ring; absent: writes to slots that log are recorded in bitmaps. */
  readonly dirtyRing?: number;
  /** Absent: stage 1 is off. The guest's tables are in the last slot. */
  readonly stage1?: GuestStage1;
  /** Phases run once, in order. */
  readonly setup: readonly Phase[];
  /** Phases run `repeat` times, in order. */
  readonly rounds: readonly Phase[];
  readonly repeat: number;
  /** What fails on purpose; one plan for a site at most. */
  readonly failures: readonly FailurePlan[];
  /** Phases run once after the last round, in order. */
  readonly ending: readonly Phase[];
}

/** The phases of a scenario by when they run. */
export type Course = Pick<Scenario, 'setup' | 'rounds' | 'ending'>;

export function phasesOf({ setup, rounds, ending }: Course): Phase[] {
  return [...setup, ...rounds, ...ending];
}

/** Agents of the host: as many as the phase that has most needs, and at least the one that conducts the run. */
export function hostAgentsOf(course: Course): number {
  return Math.max(1, ...phasesOf(course).map(({ hosts }) => hosts.length));
}

/** The programs of the host in all phases. */
export function hostProgramsOf(course: Course): HostProgram[] {
  return phasesOf(course).flatMap(({ hosts }) => hosts);
}

/** The slots whose dirty log some program harvests, by index. */
export function harvestedSlots(course: Course): Set<number> {
  const harvests = hostProgramsOf(course).filter(isLogProgram);
  return new Set(harvests.filter(({ action }) => action === 'harvest').map(({ slot }) => slot));
}

/** Whether some program of the host does this. */
export function does(scenario: Scenario, action: HostProgram['action']): boolean {
  return hostProgramsOf(scenario).some((program) => program.action === action);
}

/** Whether a vCPU may have to leave its CPU, or its VM's VMID may be taken away: for another vCPU or another VM. */
export function sharesCpus(scenario: Scenario): boolean {
  const { machine, vms = 1 } = scenario;
  return machine.cpus !== undefined || vms > 1 || does(scenario, 'short-lived-vm');
}

/**
 * Whether what is mapped at the end is chance: the host may have a page in another place than where a run first saw it, or take mappings away.
 * Who harvests reads pages that nobody wrote, which are then the zero page until somebody does.
 */
export function movesPages(scenario: Scenario): boolean {
  return (
    scenario.slots.some(({ backing }) => backing !== undefined) ||
    hostProgramsOf(scenario).some(isPaced)
  );
}
