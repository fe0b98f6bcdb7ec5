/** The host agent: changes the VM's memory while, or between when, the vCPUs run. */
import { Order, add32, load32, type Op } from '#port';
import { discardSlot, enableDirtyLog } from '../kvm/host-operations.ts';
import type { Actor } from './actor.ts';
import type { HostProgram, Phase } from './scenario.ts';
import type { World } from './world.ts';

export class HostAgent implements Actor {
  readonly #world: World;
  /** Which of the host's agents this is. */
  readonly #index: number;
  /** Guest programs that will have ended when the present phase has. */
  #guestsDue = 0;

  constructor(world: World, index: number) {
    this.#world = world;
    this.#index = index;
  }

  *begin(): Op<void> {}

  *perform(phase: Phase): Op<void> {
    if (phase.guest !== null) this.#guestsDue += this.#world.layout.vcpus;
    const host = phase.hosts[this.#index];
    if (host === undefined) return;
    for (let pass = 0; host.times === null || pass < host.times; pass++) {
      yield* this.#pass(host);
      if (host.times === null && (yield* this.#areGuestsFinished())) return;
    }
  }

  *end(): Op<void> {}

  *#areGuestsFinished(): Op<boolean> {
    const finished = yield* load32(this.#world.layout.words.guestsFinished, Order.acquire);
    return ((finished - this.#guestsDue) | 0) >= 0;
  }

  /** The epoch is counted before the change: a write acknowledged in this epoch may have been granted W after it. */
  *#pass(host: HostProgram): Op<void> {
    const { vm, layout } = this.#world;
    const isDiscard = host.action === 'discard';
    yield* add32(isDiscard ? layout.words.discardEpoch : layout.words.protectEpoch, 1, Order.full);
    yield* vm.parts.memslots.readLock();
    const slots = yield* vm.parts.memslots.all();
    yield* vm.parts.memslots.readUnlock();
    for (const slot of slots) {
      if (isDiscard) yield* discardSlot(vm, slot);
      else yield* enableDirtyLog(vm, slot);
    }
  }
}
