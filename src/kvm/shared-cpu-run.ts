/** A vCPU that shares the CPUs of its machine with others, and VMIDs with other VMs: it waits for a CPU, and its VMID may be taken away. */
import { event, type Op } from '#port';
import { EventKind } from '../engine/events.ts';
import type { Cpu } from '../machine/cpu.ts';
import type { Interrupts } from '../machine/interrupts.ts';
import type { Speculation } from '../machine/speculation.ts';
import type { RunQueue } from './run-queue.ts';
import type { VcpuRun } from './vcpu-run.ts';
import type { Vm } from './vm.ts';
import type { VmidAllocator } from './vmid/vmid-allocator.ts';

/** A physical CPU as one agent sees it. */
export interface PhysicalCpu {
  readonly cpu: Cpu;
  readonly interrupts: Interrupts;
  readonly speculation: Speculation;
}

export class SharedCpuRun implements VcpuRun {
  readonly #id: number;
  readonly #vm: Vm;
  readonly #cpus: readonly PhysicalCpu[];
  readonly #queue: RunQueue;
  readonly #vmids: VmidAllocator;
  /** Where it runs, or ran last. */
  #at: number;
  #isLoaded = false;

  /** `id` tells it from every other vCPU of the machine. */
  constructor(options: {
    readonly id: number;
    readonly vm: Vm;
    readonly cpus: readonly PhysicalCpu[];
    readonly queue: RunQueue;
    readonly vmids: VmidAllocator;
  }) {
    this.#id = options.id;
    this.#vm = options.vm;
    this.#cpus = options.cpus;
    this.#queue = options.queue;
    this.#vmids = options.vmids;
    this.#at = options.id % options.cpus.length;
  }

  *load(): Op<boolean> {
    if (this.#isLoaded) throw new Error('vCPU loaded twice');
    const last = this.#at;
    this.#at = yield* this.#queue.take(this.#id, last);
    this.#isLoaded = true;
    yield* this.#vm.parts.mmu.vcpuLoad(this.#id, this.#at, this.cpu);
    return this.#at !== last;
  }

  *put(): Op<void> {
    if (!this.#isLoaded) throw new Error('vCPU put without a CPU');
    this.#isLoaded = false;
    yield* this.#vmids.release(this.#at);
    yield* this.#queue.give(this.#at);
  }

  /** Interrupts stay off until `exit`. */
  *enter(): Op<void> {
    const { interrupts } = this.#physical;
    const { vmidWord } = this.#vm.parts.mmu;
    for (;;) {
      yield* this.#vmids.update(vmidWord, this.#at);
      yield* interrupts.disable();
      if (yield* this.#vmids.mayEnter(vmidWord)) break;
      yield* interrupts.enable();
    }
    // A table that is gone leaves the registers as they were: its VMID is given out to nobody before all TLBs are emptied.
    const registers = yield* this.#vm.liveRegisters();
    if (registers !== null) this.cpu.load(registers);
    event(EventKind.guestEnter, vmidWord, this.#at, (this.#id << 16) | this.cpu.vmid);
    yield* this.cpu.enterGuest();
  }

  *exit(): Op<void> {
    yield* this.cpu.leaveGuest();
    event(EventKind.guestExit, this.#vm.parts.mmu.vmidWord, this.#at, this.#id);
    yield* this.#physical.interrupts.enable();
  }

  *isKicked(): Op<boolean> {
    return yield* this.#physical.interrupts.isPending();
  }

  *isContended(): Op<boolean> {
    return yield* this.#queue.isContended();
  }

  get cpu(): Cpu {
    return this.#physical.cpu;
  }

  get speculation(): Speculation {
    return this.#physical.speculation;
  }

  get #physical(): PhysicalCpu {
    return this.#cpus[this.#at] as PhysicalCpu;
  }
}
