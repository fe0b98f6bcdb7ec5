import {
  hostProgramsOf,
  isLogProgram,
  isPageProgram,
  phasesOf,
  type HostProgram,
  type GuestProgram,
  type HandlerProgram,
  type PatternProgram,
  type PreFaultProgram,
  type Phase,
  type Scenario,
  type Slot,
} from '../../workers/scenario.ts';
import type { FailurePlan } from '../../machine/failure-point.ts';
import { DEFAULT_PROFILE, type ProfileName } from '../../kvm/profile.ts';
import { checkHarvests, hostProgram, isPlain } from './hosts.ts';
import { checkApart, checkRegisters, usedRanges } from './ipa-space.ts';
import { checkServed, handlerPrograms } from './userfaults.ts';
import { UserError } from '../user-error.ts';
import {
  checkShape,
  type GuestEntry,
  type HostEntry,
  type PhaseEntry,
  vcpusMax,
  type WorkloadFile,
} from './schema.ts';
import { pageBytesOf, type MachineShape } from '../../machine/shape.ts';
import { dirtyRingOf } from './dirty-ring.ts';
import { checkWholePages, machineOf } from './machine.ts';
import { hostFrames, type PlacedSlot, type Placement, placeSlots, slotPages } from './slots.ts';
import { checkTablesStay, tableSlots } from './stage1.ts';
import { isInSlots, TraceShelf } from './traces.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';
import { workloadSource, type WorkloadSource } from './source.ts';

/** What the command line decides over the file's head. */
export interface Overrides {
  /** Instead of the file's number of vCPUs. */
  readonly vcpus?: number | undefined;
  /** Instead of the file's profile. */
  readonly kvm?: ProfileName | undefined;
  /** The twin check. */
  readonly twin?: boolean | undefined;
  /** The smaller sizes of the file's `explore:` apply. */
  readonly explore: boolean;
}

/** With contents `line`, 64 bytes of each frame are kept: a word of 8 bytes for each vCPU. */
const vcpusMaxOfLine = 8;

/**
 * Reads, checks and completes a workload file: a path, or the name of one that comes with the package. Throws a UserError of one
 * line, `file:line:col: field: what is wrong`, about the first thing that is.
 */
export function loadWorkload(path: string, overrides: Overrides): Scenario {
  const from = workloadSource(path);
  if (from.edited !== null)
    throw from.edited.problem(['edits'], 'only `faultline run` runs edited code');
  return new ScenarioBuilder(from, overrides).build();
}

/** The same of a workload that may have edits; they are in `edited`, and not looked at. */
export function loadEditedWorkload(
  path: string,
  overrides: Overrides,
): { readonly scenario: Scenario; readonly edited: YamlSource | null } {
  const from = workloadSource(path);
  return { scenario: new ScenarioBuilder(from, overrides).build(), edited: from.edited };
}

class ScenarioBuilder {
  readonly #source: YamlSource;
  readonly #file: WorkloadFile;
  readonly #kvm: ProfileName;
  readonly #twin: boolean;
  readonly #machine: MachineShape;
  readonly #vcpus: number;
  readonly #touchesMax: number;
  readonly #isExplore: boolean;
  readonly #placement: Placement;
  /** For the tables of the guest: none, or one. */
  readonly #tables: readonly Slot[];
  readonly #traces: TraceShelf;
  /** Indexes of the slots that patterns name: all of their pages may be touched. */
  readonly #patternSlots: Set<number> = new Set();

  constructor({ source, folder }: WorkloadSource, overrides: Overrides) {
    this.#source = source;
    this.#file = checkShape(source);
    this.#machine = machineOf(source, this.#file);
    this.#isExplore = overrides.explore;
    this.#kvm = overrides.kvm ?? this.#file.kvm ?? DEFAULT_PROFILE;
    this.#twin = overrides.twin ?? false;
    this.#checkVms();
    const { explore } = this.#file;
    this.#touchesMax = (this.#isExplore ? explore.touches : undefined) ?? Number.POSITIVE_INFINITY;
    this.#vcpus = this.#chooseVcpus(overrides);
    checkWholePages(source, this.#file, ['explore', 'size'], explore.size ?? 0);
    if (explore.size === 0)
      throw source.problem(['explore', 'size'], 'a slot has at least one page');
    const pageBytes = pageBytesOf(this.#machine);
    this.#placement = placeSlots(source, this.#file, {
      pageBytes,
      vcpus: this.#vcpus,
      bytesMax: (this.#isExplore ? explore.size : undefined) ?? Number.POSITIVE_INFINITY,
    });
    this.#tables = tableSlots(source, this.#file, this.#placement);
    this.#traces = new TraceShelf({
      source,
      folder,
      vcpus: this.#vcpus,
      slots: this.#placement.slots,
      pageBytes,
      touchesMax: this.#touchesMax,
    });
  }

  build(): Scenario {
    const file = this.#file;
    const course = {
      setup: file.setup.map((entry, i) => this.#phase(entry, ['setup', i])),
      rounds: file.rounds.map((entry, i) => this.#phase(entry, ['rounds', i])),
      ending: file.ending.map((entry, i) => this.#phase(entry, ['ending', i])),
    };
    if (phasesOf(course).length === 0) {
      throw this.#source.problem(
        [],
        'nothing to do: there are no phases in setup, rounds or ending',
      );
    }
    checkTablesStay(this.#source, file, course);
    const { stage1 } = file.vm;
    return {
      name: file.name,
      description: file.description,
      kvm: this.#kvm,
      twin: this.#twin,
      vcpus: this.#vcpus,
      vms: file.vms,
      machine: this.#machine,
      ipaBits: file.vm.ipaBits,
      frames: this.#frames(hostProgramsOf(course)),
      contents: file.vm.contents,
      dirtyLog: file.vm.dirtyLog === 'clear-all-set' ? 'clearAllSet' : file.vm.dirtyLog,
      slots: [...this.#placement.slots, ...this.#tables],
      ...(stage1 === undefined ? {} : { stage1 }),
      ...dirtyRingOf(this.#source, this.#file, this.#kvm),
      failures: this.#failures(),
      ...course,
      repeat: (this.#isExplore ? file.explore.repeat : undefined) ?? file.repeat,
    };
  }

  #failures(): FailurePlan[] {
    return this.#file.failures.map(({ site, first, every = null }, i) => {
      if (this.#file.failures.findIndex((other) => other.site === site) < i)
        throw this.#source.problem(['failures', i, 'site'], `a second plan for ${site}`);
      return { site, first, every };
    });
  }

  /** A page of a shared object has one owner's tag, whichever VM's process maps its own object. */
  #checkVms(): void {
    const shared = this.#file.slots.findIndex(({ backing }) => backing === 'shared');
    if (this.#file.vms === 1 || shared < 0) return;
    throw this.#source.problem(
      ['slots', shared, 'backing'],
      'with several VMs (vms) no slot can be shared: whose page a frame holds could not be told',
    );
  }

  #chooseVcpus(overrides: Overrides): number {
    const { vcpus: asked } = overrides;
    if (asked !== undefined && !(Number.isInteger(asked) && asked >= 1 && asked <= vcpusMax)) {
      throw new UserError(`--vcpus: expected a whole number from 1 to ${vcpusMax}, not ${asked}`);
    }
    const vcpus =
      asked ?? (this.#isExplore ? this.#file.explore.vcpus : undefined) ?? this.#file.vcpus;
    if (this.#file.vm.contents === 'line' && vcpus > vcpusMaxOfLine) {
      throw this.#source.problem(
        ['vm', 'contents'],
        `a line holds one word for each of at most ${vcpusMaxOfLine} vCPUs, and there are ${vcpus}: use page`,
      );
    }
    return vcpus;
  }

  #phase(entry: PhaseEntry, path: Path): Phase {
    const { guest, hosts } = entry;
    if (!guest && hosts.length === 0)
      throw this.#source.problem(path, 'a phase needs a guest program or a host program');
    const phase = {
      name: entry.name,
      guest: guest ? this.#guest(guest, [...path, 'guest']) : null,
      hosts: this.#hosts(entry, path),
    };
    checkServed(this.#source, path, this.#placement.slots, phase);
    return phase;
  }

  #hosts({ guest, hosts }: PhaseEntry, path: Path): HostProgram[] {
    const space = { ...this.#placement, ipaBits: this.#file.vm.ipaBits };
    const programs = hosts.flatMap((each, i): HostProgram[] => {
      const where = [...path, 'hosts', i];
      if (!isPlain(each)) return this.#handlers(each, where);
      const program = hostProgram(each, {
        source: this.#source,
        path: where,
        hasGuest: guest !== undefined,
        isLast: path[0] === 'ending' && path[1] === this.#file.ending.length - 1,
        space,
        slotNamed: (name, place) => this.#slotNamed(name, place).index,
      });
      return [program];
    });
    checkHarvests(programs, {
      source: this.#source,
      path: [...path, 'hosts'],
      vms: this.#file.vms,
    });
    checkApart(this.#source, path, usedRanges(programs, space));
    checkRegisters(this.#source, path, programs, space);
    return programs;
  }

  #handlers(entry: HostEntry, path: Path): HandlerProgram[] {
    const slot = this.#slotNamed(entry.slot, path);
    const { slots } = this.#placement;
    return handlerPrograms(entry, { source: this.#source, path, slots, slot, vcpus: this.#vcpus });
  }

  #guest(entry: GuestEntry, path: Path): GuestProgram {
    if ((entry.pattern === undefined) === (entry.trace === undefined)) {
      throw this.#source.problem(path, 'a guest program has either a pattern or a trace');
    }
    const kind = entry.pattern ?? 'trace';
    for (const [key, value] of Object.entries(entry)) {
      if (value === undefined || isKeyOf(kind, key)) continue;
      throw this.#source.keyProblem(
        path,
        key,
        `means nothing with ${kind === 'trace' ? 'a trace' : `the pattern ${kind}`}`,
      );
    }
    if (entry.trace === undefined) return this.#pattern(entry, path);
    const { perVcpu = 0 } = entry;
    checkWholePages(this.#source, this.#file, [...path, 'perVcpu'], perVcpu);
    return this.#traces.program(entry.trace, perVcpu, path);
  }

  #pattern(entry: GuestEntry, path: Path): PatternProgram | PreFaultProgram {
    const pattern = entry.pattern ?? 'sequential';
    const slot = this.#slotOf(entry, path);
    const region = entry.region ?? 'shared';
    if (region === 'partitioned' && slot.pages < this.#vcpus) {
      throw this.#source.problem(
        [...path, 'region'],
        `a slot of ${slot.pages} pages cannot be shared out among ${this.#vcpus} vCPUs`,
      );
    }
    if (pattern === 'strided' && entry.stride === undefined) {
      throw this.#source.problem(path, 'the pattern strided needs a stride, in pages');
    }
    this.#patternSlots.add(slot.index);
    if (pattern === 'prefault') return { kind: 'prefault', slot: slot.index, region };
    const regionPages = region === 'shared' ? slot.pages : Math.floor(slot.pages / this.#vcpus);
    const touches = entry.touches ?? (this.#touchesMax < regionPages ? this.#touchesMax : null);
    return {
      kind: 'pattern',
      pattern,
      slot: slot.index,
      region,
      touches: touches === null ? null : Math.min(touches, this.#touchesMax),
      writes: entry.writes ?? 0,
      stride: entry.stride ?? 1,
      exponent: entry.exponent ?? 0.99,
    };
  }

  #slotOf(entry: GuestEntry, path: Path): PlacedSlot {
    const slot = this.#slotNamed(entry.slot, path);
    if (slot.isPerVcpu) {
      throw this.#source.problem(
        [...path, 'slot'],
        `the slot ${entry.slot ?? this.#firstSlot()} has a copy per vCPU: a pattern needs a slot without perVcpu`,
      );
    }
    return slot;
  }

  /** Of several copies the first. */
  #slotNamed(given: string | undefined, path: Path): PlacedSlot {
    const name = given ?? this.#firstSlot();
    const slot = this.#placement.byName.get(name);
    if (slot !== undefined) return slot;
    const known = [...this.#placement.byName.keys()].join(', ');
    throw this.#source.problem([...path, 'slot'], `there is no slot ${name} (there are: ${known})`);
  }

  #firstSlot(): string {
    return this.#file.slots[0]?.name ?? '';
  }

  /** Small slots need little memory: exploring restores it between executions. */
  #frames(programs: readonly HostProgram[]): number {
    const frames = hostFrames(this.#source, this.#file, this.#placement, this.#pagesTouched());
    // What moves pages needs somewhere to put them, and a harvest the zero page.
    const isMoving = programs.some((program) => isPageProgram(program) || isLogProgram(program));
    const pages = slotPages(this.#placement) * (isMoving ? 2 : 1);
    const { pageBytes } = this.#placement;
    const tables = slotPages({ slots: this.#tables, pageBytes });
    return (this.#isExplore ? Math.min(frames, pages) : frames) + tables;
  }

  /** Pages that host memory has to hold: all of a slot that a pattern names, of other slots what the traces touch. */
  #pagesTouched(): number {
    const { slots, pageBytes } = this.#placement;
    const whole = slots.filter(
      ({ snapshot }, index) => snapshot === true || this.#patternSlots.has(index),
    );
    const alone = [...this.#traces.pages].filter((page) => !isInSlots(page, whole));
    return slotPages({ slots: whole, pageBytes }) + alone.length;
  }
}

const regionKeys: ReadonlySet<string> = new Set(['pattern', 'slot', 'region']);

function isKeyOf(kind: string, key: string): boolean {
  if (kind === 'trace') return key === 'trace' || key === 'perVcpu';
  if (kind === 'prefault') return regionKeys.has(key);
  return (
    regionKeys.has(key) ||
    key === 'touches' ||
    key === 'writes' ||
    (kind === 'strided' && key === 'stride') ||
    (kind === 'zipf' && key === 'exponent')
  );
}
