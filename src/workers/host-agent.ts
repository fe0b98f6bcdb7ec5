/** The host agent: changes the VM's memory while, or between when, the vCPUs run. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import { Order, add32, load32, wait, type Op } from '#port';
import { scattered } from '../engine/splitmix.ts';
import { CacheTraps } from '../kvm/cache-toggle.ts';
import { exitMm } from '../kvm/host/areas.ts';
import type { VmaSpec } from '../kvm/host/vma.ts';
import { discardSlot, enableDirtyLog } from './host-operations.ts';
import type { Hva } from '../machine/address.ts';
import type { Actor } from './actor.ts';
import { collectRings } from './dirty-rings.ts';
import { actOnLog } from './log-actions.ts';
import { actOnPage } from './page-actions.ts';
import {
  isDevice,
  isHandler,
  isLogProgram,
  isPageProgram,
  isSlotProgram,
  isTrapProgram,
  type HandlerProgram,
  type HostProgram,
  type PageProgram,
  type Phase,
  type TrapAction,
} from './scenario.ts';
import { actOnSlot } from './slot-actions.ts';
import { noteLogBegun } from './slot-log.ts';
import { ShortLivedVm } from './short-lived-vm.ts';
import { UserfaultHandler } from './userfaults.ts';
import type { World } from './world.ts';

/** More than there are agents: each draws from a generator of its own. */
const AGENTS_MAX = 0x1000;

export class HostAgent implements Actor {
  readonly #world: World;
  /** Which of the host's agents this is. */
  readonly #index: number;
  /** Guest programs that will have ended when the present phase has. */
  #guestsDue = 0;
  /** Accesses of guests that had got through at the last look. */
  #progress = 0;
  readonly #random: RandomGenerator;
  readonly #traps: CacheTraps;
  readonly #shortLivedVm: ShortLivedVm;

  constructor(world: World, index: number, seed: number) {
    this.#world = world;
    this.#index = index;
    this.#traps = new CacheTraps(world.vm);
    this.#shortLivedVm = new ShortLivedVm(world, index);
    this.#random = xoroshiro128plus(scattered(seed * AGENTS_MAX + world.layout.vcpus + index));
  }

  *begin(): Op<void> {}

  *perform(phase: Phase): Op<void> {
    if (phase.guest !== null) this.#guestsDue += this.#world.layout.vcpus;
    const host = phase.hosts[this.#index];
    if (host === undefined) return;
    if (isHandler(host)) {
      yield* new UserfaultHandler(this.#world).serve(phase, host);
      return;
    }
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

  *#pass(program: Exclude<HostProgram, HandlerProgram>): Op<void> {
    if (isPageProgram(program)) yield* this.#actOnPages(program);
    else if (isLogProgram(program)) {
      yield* actOnLog(this.#world, program);
      yield* this.#letGuestsThrough(program.delay);
    } else if (isSlotProgram(program)) {
      yield* actOnSlot(this.#world, program, this.#index);
      yield* this.#letGuestsThrough(program.delay);
    } else if (isTrapProgram(program)) {
      yield* this.#trap(program.action);
      yield* this.#letGuestsThrough(program.delay);
    } else if (program.action === 'teardown') yield* exitMm(this.#world.vm.parts.host.mm);
    else if (program.action === 'collect-rings') yield* collectRings(this.#world);
    else if (program.action === 'short-lived-vm') yield* this.#shortLivedVm.live();
    else yield* this.#actOnSlots(program.action);
  }

  /** What a vCPU does that traps, as if by one that runs no guest program: the handlers are for its own thread. */
  *#trap(action: TrapAction): Op<void> {
    if (action === 'set-way') {
      yield* this.#traps.setWay();
      yield* this.#traps.toggle(false);
      yield* this.#traps.toggle(true);
      return;
    }
    yield* add32(this.#world.layout.words.mappingsTaken, 1, Order.full);
    yield* this.#traps.reset();
  }

  /** The epoch is counted before the change: a write acknowledged in this epoch may have been granted W after it. */
  *#actOnSlots(action: 'write-protect' | 'discard'): Op<void> {
    const { vm, layout, scenario } = this.#world;
    const isDiscard = action === 'discard';
    yield* add32(isDiscard ? layout.words.discardEpoch : layout.words.protectEpoch, 1, Order.full);
    for (const [id, slot] of scenario.slots.entries()) {
      // User space asks for no log of registers.
      if (isDevice(slot)) continue;
      if (isDiscard) yield* discardSlot(vm, layout.host.vmas[id] as VmaSpec);
      else if (yield* enableDirtyLog(this.#world, { id })) yield* noteLogBegun(layout, id);
    }
  }

  /** Contents stay, so no epoch passes. */
  *#actOnPages({ action, slot, pages: count, delay }: PageProgram): Op<void> {
    const { vm, layout } = this.#world;
    const area = layout.host.vmas[slot];
    if (area === undefined) throw new Error(`no slot ${slot}`);
    const { pageBytes } = vm.parts.geometry;
    const pages = area.bytes / pageBytes;
    for (let i = 0; i < (count ?? pages); i++) {
      const page = count === null ? i : uniformInt(this.#random, 0, pages - 1);
      const other = uniformInt(this.#random, 0, pages - 1);
      if (action === 'age') yield* add32(layout.words.mappingsTaken, 1, Order.full);
      const hva = (area.hva + page * pageBytes) as Hva;
      yield* actOnPage(vm.parts.host.mm, action, hva, (area.hva + other * pageBytes) as Hva);
      yield* this.#letGuestsThrough(delay);
    }
  }

  /**
   * Waits until `accesses` faulting accesses got through since the last time, or the guests are done. In 5.10 any invalidation sends every fault
   * in flight back, whatever page it was for: with locks that are handed over in turn, a host that never pauses would keep the guest from ever
   * mapping anything.
   */
  *#letGuestsThrough(accesses: number): Op<void> {
    if (accesses === 0) return;
    const { guestProgress } = this.#world.layout.words;
    let now = yield* load32(guestProgress, Order.acquire);
    while (((now - this.#progress) | 0) < accesses && !(yield* this.#areGuestsFinished())) {
      yield* wait(guestProgress, now);
      now = yield* load32(guestProgress, Order.acquire);
    }
    this.#progress = now;
  }
}
