/**
 * What the thread of a vCPU does in user space, as far as memory asks for it: it drops writes to read-only memory, and where other threads of
 * the process take slots away and bring them back, it waits for that. Everything else ends the run.
 */
import { Order, count, load32, wait, type Op, type Word } from '#port';
import { completeMmio } from '../kvm/mmio.ts';
import type { AbortResult, Vcpu } from '../kvm/vcpu.ts';
import type { AccessKind } from '../machine/cpu.ts';
import { AgentFailure, type FailureKind } from './failure.ts';
import { isOneOf, takesSlotsAway } from './scenario.ts';
import { STATISTICS } from './statistics.ts';
import type { UserfaultHandler } from './userfaults.ts';
import type { World } from './world.ts';

/** A guest's access that faulted, and how its handling ended. */
export interface HandledAccess {
  readonly ipa: number;
  readonly kind: AccessKind;
  readonly result: AbortResult;
  /** What `slotsSeen` gave before it was handled. */
  readonly slotsSeen: number;
  /** Something failed on purpose meanwhile. */
  readonly hasFailed: boolean;
}

export class UserSpace {
  readonly #world: World;
  readonly #vcpu: Vcpu;
  readonly #userfaults: UserfaultHandler;
  readonly #id: number;
  readonly #generation: Word;
  readonly #bringsSlotsBack: boolean;

  constructor(
    world: World,
    id: number,
    { vcpu, userfaults }: { readonly vcpu: Vcpu; readonly userfaults: UserfaultHandler },
  ) {
    this.#world = world;
    this.#id = id;
    this.#vcpu = vcpu;
    this.#userfaults = userfaults;
    this.#generation = world.layout.memslots.generation;
    this.#bringsSlotsBack = takesSlotsAway(world.scenario);
  }

  /** Publications of slots so far, where it matters. */
  *slotsSeen(): Op<number> {
    return this.#bringsSlotsBack ? yield* load32(this.#generation, Order.acquire) : 0;
  }

  /**
   * What is left to do before the vCPU runs again: `retry`, its instruction is repeated; `done`, it was stepped over.
   * @throws AgentFailure for what no user space can mend.
   */
  *answer(access: HandledAccess): Op<'retry' | 'done'> {
    const { result, slotsSeen } = access;
    const { exit, injected, signal } = this.#vcpu;
    if (result === 'exit' && exit?.reason === 'mmio' && this.#isWriteToReadonly(access)) {
      count(STATISTICS.exits, 1);
      completeMmio(this.#vcpu, exit.access, exit.value);
      return 'done';
    }
    if (result === 'fault' && exit?.reason === 'memoryFault') {
      count(STATISTICS.exits, 1);
      this.#vcpu.exit = null;
      yield* this.#userfaults.resolveExit(exit.ipa, this.#where(access));
      return 'retry';
    }
    if (access.hasFailed) {
      this.#vcpu.signal = null;
      if (isOneOf(FORGIVEN, result)) return 'retry';
    }
    // A fetch where no slot is aborts in the guest, whose handler tries again.
    const isAway = result === 'exit' || injected?.exception === 'prefetchAbort';
    if (isAway && this.#bringsSlotsBack) yield* this.#awaitSlots(slotsSeen);
    else if (result !== 'resume') throw this.#failure(this.#kindOf(result), access);
    else if (injected !== null) throw this.#failure('injected', access);
    else if (signal !== null) throw this.#failure('poisoned', access);
    return 'retry';
  }

  /** A page that the host has no frame for is -EFAULT, too. */
  #kindOf(result: Exclude<AbortResult, 'resume'>): FailureKind {
    const isOutOfMemory = result === 'fault' && this.#world.memory.guest.isExhausted;
    return isOutOfMemory ? 'noMemory' : FAILURE_OF[result];
  }

  #isWriteToReadonly({ ipa, kind }: HandledAccess): boolean {
    const slot = this.#world.scenario.slots.find(
      ({ base, bytes }) => ipa >= base && ipa < base + bytes,
    );
    return kind === 'write' && slot?.isReadonly === true;
  }

  /** Until the slots are others than before the fault was handled: whoever took one away brings it back. */
  *#awaitSlots(seen: number): Op<void> {
    count(STATISTICS.exits, 1);
    this.#vcpu.injected = null;
    while ((yield* load32(this.#generation, Order.acquire)) === seen)
      yield* wait(this.#generation, seen);
  }

  #failure(kind: FailureKind, access: HandledAccess): AgentFailure {
    return new AgentFailure(kind, this.#where(access));
  }

  #where({ ipa, kind }: HandledAccess): string {
    return `vCPU ${this.#id}, ${kind} of IPA 0x${ipa.toString(16)}`;
  }
}

/** What a failure on purpose leads to: the vCPU tries again. */
const FORGIVEN: readonly AbortResult[] = ['resume', 'noMemory', 'fault'];

const FAILURE_OF = {
  exit: 'outsideSlots',
  noSystemCall: 'outsideSlots',
  fault: 'fault',
  invalid: 'fault',
  outOfRange: 'fault',
  notPermitted: 'fault',
  noMemory: 'noMemory',
} as const satisfies Record<Exclude<AbortResult, 'resume'>, FailureKind>;
