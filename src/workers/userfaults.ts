/** The process that runs the VM as the handler of its userfaults: how a page is brought, and the agents that serve a queue. */
import { Order, add32, load32, type Op } from '#port';
import type { UserfaultQueue } from '../kvm/host/userfault-queue.ts';
import {
  continuePage,
  copyPage,
  zeroPage,
  type ResolveResult,
} from '../kvm/host/userfault-resolve.ts';
import type { VmArea } from '../kvm/host/vma.ts';
import type { Hva } from '../machine/address.ts';
import type { Actor } from './actor.ts';
import { AgentFailure } from './failure.ts';
import type { SlotLayout } from './layout.ts';
import { isHandler, type HandlerProgram, type Phase } from './scenario.ts';
import { InitialContents } from './snapshot.ts';
import type { World } from './world.ts';

/** Brings pages of registered slots. */
export class UserfaultHandler {
  readonly #world: World;
  readonly #contents: InitialContents;

  constructor(world: World) {
    this.#world = world;
    this.#contents = new InitialContents(world.scenario, world.layout);
  }

  /**
   * Resolves a fault on the page of `hva`; one that another agent has resolved is none any more. What fails on purpose is tried again. `who`:
   * for the failure when the host is out of memory.
   */
  *resolve(slot: number, hva: Hva, isWrite: boolean, who: string): Op<void> {
    const { failures } = this.#world;
    let { struck } = failures;
    let result = yield* this.#bring(slot, hva, isWrite);
    while (result === 'noMemory' && failures.struck > struck) {
      ({ struck } = failures);
      result = yield* this.#bring(slot, hva, isWrite);
    }
    if (result === 'noMemory') throw new AgentFailure('noMemory', who);
    if (result !== 'done' && result !== 'exists') throw new Error(`${who}: ${result}`);
  }

  /** Resolves the fault of an exit, which does not say whether the page is to be written: it is given a frame. */
  *resolveExit(ipa: number, who: string): Op<void> {
    const { slots } = this.#world.layout;
    const slot = slots.findIndex((each) => isIn(each, ipa));
    const { baseGfn, pageBytes, hva } = slots[slot] as SlotLayout;
    yield* this.resolve(slot, (hva + ipa - baseGfn * pageBytes) as Hva, true, who);
  }

  /**
   * Serves a queue until everybody else is done with the phase. Whoever waits in the queue is not done, so nobody is left when this ends.
   */
  *serve(phase: Phase, { slot, queue, delaySteps }: HandlerProgram): Op<void> {
    const { mm } = this.#world.vm.parts.host;
    const served = mm.queuesOf(this.#area(slot))[queue] as UserfaultQueue;
    const parties = partiesOf(this.#world);
    const before = yield* load32(this.#world.layout.words.partsDone, Order.acquire);
    const due = before - (before % parties) + parties - handlersOf(phase);
    for (;;) {
      const seen = yield* served.bell();
      const message = yield* served.next();
      if (message !== null) {
        yield* this.#linger(delaySteps);
        yield* this.resolve(slot, mm.addressOf(message.page), message.isWrite, 'userfault handler');
      } else if ((yield* load32(this.#world.layout.words.partsDone, Order.acquire)) >= due) return;
      else yield* served.awaitBell(seen);
    }
  }

  *#bring(slot: number, hva: Hva, isWrite: boolean): Op<ResolveResult> {
    const { mm } = this.#world.vm.parts.host;
    const area = this.#area(slot);
    if (area.userfault?.mode === 'minor') return yield* continuePage(mm, hva);
    const filling = this.#contents.wordOf(this.#pageOf(slot, area, hva));
    if (filling.hi === 0 && !isWrite && area.isPrivate) return yield* zeroPage(mm, hva);
    return yield* copyPage(mm, hva, filling);
  }

  /** The handler's work, in steps. */
  *#linger(steps: number): Op<void> {
    for (let i = 0; i < steps; i++) yield* load32(this.#world.layout.words.rounds, Order.once);
  }

  #area(slot: number): VmArea {
    return this.#world.vm.parts.host.mm.vmas.areas[slot] as VmArea;
  }

  /** Index over all slots. */
  #pageOf(slot: number, area: VmArea, hva: Hva): number {
    const before = this.#world.layout.slots.slice(0, slot).reduce(sumPages, 0);
    return before + (hva - area.hva) / this.#world.vm.parts.geometry.pageBytes;
  }
}

/**
 * Counts an agent as done with a phase that has handlers. The one that leaves them alone rings, so that they look up: every count before
 * is made by an agent that is no handler, for a handler ends later.
 */
export class Announced implements Actor {
  readonly #world: World;
  readonly #actor: Actor;

  constructor(world: World, actor: Actor) {
    this.#world = world;
    this.#actor = actor;
  }

  *begin(): Op<void> {
    yield* this.#actor.begin();
  }

  *perform(phase: Phase): Op<void> {
    yield* this.#actor.perform(phase);
    const handlers = handlersOf(phase);
    if (handlers === 0) return;
    const parties = partiesOf(this.#world);
    const before = yield* add32(this.#world.layout.words.partsDone, 1, Order.full);
    if ((before % parties) + 1 === parties - handlers) yield* this.#ring(phase);
  }

  *end(): Op<void> {
    yield* this.#actor.end();
  }

  *#ring(phase: Phase): Op<void> {
    const { mm } = this.#world.vm.parts.host;
    for (const { slot, queue } of phase.hosts.filter(isHandler))
      yield* (mm.queuesOf(mm.vmas.areas[slot] as VmArea)[queue] as UserfaultQueue).ring();
  }
}

function isIn({ baseGfn, pages, pageBytes }: SlotLayout, ipa: number): boolean {
  return ipa >= baseGfn * pageBytes && ipa < (baseGfn + pages) * pageBytes;
}

function sumPages(sum: number, { pages }: SlotLayout): number {
  return sum + pages;
}

function handlersOf({ hosts }: Phase): number {
  return hosts.filter(isHandler).length;
}

function partiesOf({ layout }: World): number {
  return layout.vcpus + layout.hosts;
}
