/**
 * The instructions of a guest on its vCPU: tried until no fault of stage 2 is in the way, or until somebody other than the guest has to go
 * on. The vCPU is in guest mode between {@link GuestCore.enter} and {@link GuestCore.leave}.
 *
 * Non-goals: transfers other than of 8 bytes to memory (devices take all sizes), addresses written back, a program counter.
 */
import { Order, cas64, fill, high, load32, load64, store64, type Op, type Word } from '#port';
import type { AbortVm } from '../kvm/abort-vm.ts';
import { handleGuestAbort } from '../kvm/guest-abort.ts';
import type { RegisterValue } from '../kvm/registers.ts';
import type { AbortResult, Vcpu } from '../kvm/vcpu.ts';
import type { Va } from '../machine/address.ts';
import { FAULTED, type Cpu } from '../machine/cpu.ts';
import { GUEST_FAULTED, type GuestMmu, type Place } from '../machine/guest-mmu.ts';
import type { Interconnect, Stage1Command } from '../machine/tlbi.ts';
import { ZVA_BYTES, type Instruction } from '../machine/instruction.ts';

/**
 * How an instruction ended. `done`; `emulated`: the host made the access, or skipped it; `guestFault`: a fault of stage 1, the guest's own;
 * `injected`: an abort that the host gave to the guest; `livelock`: it faults again and again. Else user space has to go on: see
 * {@link AbortResult}.
 */
export type Ended =
  | 'done'
  | 'emulated'
  | 'guestFault'
  | 'injected'
  | 'livelock'
  | Exclude<AbortResult, 'resume'>;

/** Faults of one instruction: one at each level of its walk, twice where hardware updates a descriptor, and its own. */
const FAULTS_MAX = 16;
/** The general register that instructions here move. */
export const DATA_REGISTER = 3;

/** How a vCPU gets into the guest and out again, and the CPU that it is on. */
export interface GuestRun extends Place {
  enter(): Op<void>;
  exit(): Op<void>;
}

/** A CPU of the vCPU's own. */
export class OwnCpu implements GuestRun {
  readonly cpu: Cpu;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
  }

  *enter(): Op<void> {
    yield* this.cpu.enterGuest();
  }

  *exit(): Op<void> {
    yield* this.cpu.leaveGuest();
  }
}

export interface GuestCoreOptions {
  readonly vm: AbortVm;
  readonly vcpu: Vcpu;
  readonly run: GuestRun;
  readonly mmu: GuestMmu;
  /** By which the guest invalidates. */
  readonly interconnect: Interconnect;
}

export class GuestCore {
  readonly vcpu: Vcpu;
  readonly mmu: GuestMmu;
  readonly #vm: AbortVm;
  readonly #run: GuestRun;
  readonly #interconnect: Interconnect;
  /** How the last instruction ended. */
  ended: Ended = 'done';
  /** Faults of stage 2 that were handled. */
  faults = 0;

  constructor({ vm, vcpu, run, mmu, interconnect }: GuestCoreOptions) {
    this.#vm = vm;
    this.vcpu = vcpu;
    this.#run = run;
    this.mmu = mmu;
    this.#interconnect = interconnect;
  }

  *enter(): Op<void> {
    yield* this.#run.enter();
  }

  *leave(): Op<void> {
    yield* this.#run.exit();
  }

  /** Executes an instruction on the 8 bytes at `va`. What it loads, stores or swaps in is {@link DATA_REGISTER}'s. */
  *execute(va: Va, instruction: Instruction): Op<Ended> {
    const at = yield* this.reach(va, instruction);
    if (at !== FAULTED) yield* this.#perform(instruction, at);
    return this.ended;
  }

  /** AT: the IPA, or null: the guest's own fault (PAR_EL1.F), or not `done`. */
  *addressTranslate(va: Va): Op<number | null> {
    for (let tries = 0; tries <= FAULTS_MAX; tries++) {
      const translated = yield* this.mmu.addressTranslate(va);
      this.ended = 'done';
      if (translated === 'fault') return null;
      if (translated !== 'aborted') return translated;
      if (!(yield* this.#takeFault())) return null;
    }
    this.ended = 'livelock';
    return null;
  }

  /**
   * TLBI by the guest, for its own VMID, and the DSB that completes it. Its CPU performs the command before it waits, so that two guests that
   * wait for one another do not wait for ever: the one that posted last has performed what the other waits for.
   */
  *invalidate(command: Pick<Stage1Command, 'kind' | 'va' | 'asid'>): Op<void> {
    yield* this.#interconnect.tlbi({ ...command, vmid: this.#run.cpu.vmid });
    yield* this.#run.cpu.boundary();
    yield* this.#interconnect.dsbIsh();
  }

  /** Where an instruction's access comes to, until the next one; FAULTED unless `ended` is `done`. */
  *reach(va: Va, instruction: Instruction): Op<Word> {
    for (let tries = 0; tries <= FAULTS_MAX; tries++) {
      const at = yield* this.mmu.access(va, instruction);
      this.ended = at === GUEST_FAULTED ? 'guestFault' : 'done';
      if (at !== FAULTED) return at === GUEST_FAULTED ? FAULTED : at;
      if (!(yield* this.#takeFault())) return FAULTED;
    }
    this.ended = 'livelock';
    return FAULTED;
  }

  /** From the exit to the re-entry. Whether the guest is to try again. */
  *#takeFault(): Op<boolean> {
    const { vcpu } = this;
    const isComplete = yield* this.mmu.completeFault();
    if (!isComplete) return true;
    yield* this.#run.exit();
    vcpu.fault = this.mmu.fault;
    vcpu.injected = null;
    const { pcAdvance } = vcpu;
    const result = yield* handleGuestAbort(this.#vm, vcpu);
    this.faults++;
    yield* this.#run.enter();
    this.ended = endOf(vcpu, pcAdvance, result);
    return this.ended === 'done';
  }

  *#perform({ effect }: Instruction, at: Word): Op<void> {
    const { registers } = this.vcpu;
    if (effect === 'load') {
      const lo = yield* load64(at, Order.once);
      registers.write(DATA_REGISTER, { lo, hi: high() });
    } else if (effect === 'fetch') {
      const lo = yield* load32(at, Order.once);
      registers.write(DATA_REGISTER, { lo, hi: 0 });
    } else if (effect === 'store') {
      const { lo, hi } = registers.read(DATA_REGISTER);
      yield* store64(at, lo, hi, Order.once);
    } else if (effect === 'swap') yield* this.#swap(at, registers.read(DATA_REGISTER));
    else if (effect === 'zero') yield* fill(at - (at % ZVA_BYTES), ZVA_BYTES, 0);
  }

  /** In place of zero, as the guest that first finds the word free. */
  *#swap(at: Word, { lo, hi }: RegisterValue): Op<void> {
    yield* cas64(at, 0, 0, lo, hi, Order.full);
  }
}

function endOf({ injected, pcAdvance }: Vcpu, before: number, result: AbortResult): Ended {
  if (result !== 'resume') return result;
  if (injected !== null) return 'injected';
  return pcAdvance === before ? 'done' : 'emulated';
}
