import { resolve } from 'node:path';
import {
  TRACE_PAGE_BYTES,
  isDevice,
  type Slot,
  type TraceProgram,
} from '../../workers/scenario.ts';
import { displayName } from '../input-file.ts';
import { accessKinds, type LackeyTrace, readLackey } from './lackey.ts';
import { UserError } from '../user-error.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** Whether an address lies in one of these slots. */
export function isInSlots(address: number, slots: readonly Slot[]): boolean {
  return slots.some((slot) => address >= slot.base && address < slot.base + slot.bytes);
}

function executedPages({ pages, kinds }: LackeyTrace): Set<number> {
  return new Set(pages.filter((_, i) => accessKinds[kinds[i] as number] === 'exec'));
}

export interface TraceShelfOptions {
  readonly source: YamlSource;
  /** What names of traces are relative to. */
  readonly folder: string;
  readonly vcpus: number;
  readonly slots: readonly Slot[];
  readonly pageBytes: number;
  /** So many accesses of each trace are read. */
  readonly touchesMax: number;
}

/** The traces that one workload names: each is read once and checked for every vCPU. */
export class TraceShelf {
  /** First addresses of the pages of RAM that any vCPU touches through a trace. */
  readonly pages: Set<number> = new Set();
  readonly #options: TraceShelfOptions;
  readonly #traces: Map<string, LackeyTrace> = new Map();

  constructor(options: TraceShelfOptions) {
    this.#options = options;
  }

  /**
   * The guest program that replays the trace `name`, vCPU i at i * `perVcpu` bytes higher; `path` is its place in the workload.
   * Throws a UserError if the trace cannot be read or leaves the slots.
   */
  program(name: string, perVcpu: number, path: Path): TraceProgram {
    const { source, folder, touchesMax } = this.#options;
    if (name.includes('\0')) {
      throw source.problem([...path, 'trace'], 'a name with a NUL character');
    }
    const file = resolve(folder, name);
    const trace = this.#traces.get(file) ?? readLackey(file, touchesMax);
    this.#traces.set(file, trace);
    const vcpuPages = perVcpu / TRACE_PAGE_BYTES;
    this.#checkPages(displayName(file), trace, vcpuPages);
    return { kind: 'trace', pages: trace.pages, kinds: trace.kinds, vcpuPages };
  }

  #checkPages(name: string, trace: LackeyTrace, vcpuPages: number): void {
    const { source, slots, vcpus, pageBytes } = this.#options;
    const executed = executedPages(trace);
    const devices = slots.filter(isDevice);
    for (const [page, line] of trace.firstLine) {
      for (let vcpu = 0; vcpu < vcpus; vcpu += 1) {
        const target = (page + vcpu * vcpuPages) * TRACE_PAGE_BYTES;
        if (!isInSlots(target, slots)) {
          throw new UserError(
            `${name}:${line}: page 0x${target.toString(16)} of vCPU ${vcpu} is in no slot of ${source.name}`,
          );
        }
        const isRegister = isInSlots(target, devices);
        if (isRegister && executed.has(page)) {
          throw new UserError(
            `${name}:${line}: page 0x${target.toString(16)} of vCPU ${vcpu} is executed, and ${source.name} has a device there`,
          );
        }
        if (!isRegister) this.pages.add(target - (target % pageBytes));
      }
    }
  }
}
