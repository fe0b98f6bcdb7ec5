/**
 * A vCPU with a CPU of its own on a machine with one VM. Nobody else takes VMIDs, so the VM's first one is its for good; nobody sends
 * interrupts, and the registers stay as they were loaded.
 */
import { event, type Op } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Cpu } from '../machine/cpu.ts';
import type { Speculation } from '../machine/speculation.ts';
import type { VcpuRun } from './vcpu-run.ts';
import type { Vm } from './vm.ts';
import type { VmidAllocator } from './vmid/vmid-allocator.ts';

export class PinnedRun implements VcpuRun {
  readonly cpu: Cpu;
  readonly speculation: Speculation;
  readonly #id: number;
  readonly #vm: Vm;
  readonly #vmids: VmidAllocator;
  #hasRegisters = false;

  /** `id`: of the vCPU and of its CPU. */
  constructor(options: {
    readonly id: number;
    readonly vm: Vm;
    readonly cpu: Cpu;
    readonly speculation: Speculation;
    readonly vmids: VmidAllocator;
  }) {
    this.#id = options.id;
    this.#vm = options.vm;
    this.cpu = options.cpu;
    this.speculation = options.speculation;
    this.#vmids = options.vmids;
  }

  *load(): Op<boolean> {
    this.#vm.parts.mmu.runOn(this.cpu);
    if (!this.#hasRegisters) yield* this.#loadRegisters();
    return false;
  }

  *put(): Op<void> {}

  *enter(): Op<void> {
    event(EventKind.guestEnter, this.#vmidWord, this.#id, (this.#id << 16) | this.cpu.vmid);
    yield* this.cpu.enterGuest();
  }

  *exit(): Op<void> {
    yield* this.cpu.leaveGuest();
    event(EventKind.guestExit, this.#vmidWord, this.#id, this.#id);
  }

  // oxlint-disable-next-line require-yield -- the interface allows CPUs that are interrupted.
  *isKicked(): Op<boolean> {
    return false;
  }

  // oxlint-disable-next-line require-yield -- as above.
  *isContended(): Op<boolean> {
    return false;
  }

  *#loadRegisters(): Op<void> {
    yield* this.#vmids.update(this.#vmidWord, this.#id);
    const registers = yield* this.#vm.liveRegisters();
    // A VM whose table is gone is not entered any deeper than to fault.
    if (registers === null) return;
    this.cpu.load(registers);
    this.#hasRegisters = true;
  }

  get #vmidWord(): number {
    return this.#vm.parts.mmu.vmidWord;
  }
}
