/**
 * How a vCPU's program reaches the pages of the slots: by IPA, with stage 1 off, or by VA, through tables that the guest itself made.
 */
import type { Op, Word } from '#port';
import type { VcpuRun } from '../kvm/vcpu-run.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Asid, Ipa, Va } from '../machine/address.ts';
import type { AccessKind } from '../machine/cpu.ts';
import { GUEST_FAULTED, GuestMmu, type Place } from '../machine/guest-mmu.ts';
import { FETCH, load, store, type Instruction } from '../machine/instruction.ts';
import { encodeStage1 } from '../machine/stage1-registers.ts';
import type { FaultRecord } from '../machine/syndrome.ts';
import { AgentFailure } from './failure.ts';
import { DATA_REGISTER, GuestCore } from './guest-core.ts';
import { GuestTables } from './guest-tables.ts';
import type { SlotLayout } from './layout.ts';
import type { GuestStage1 } from './scenario.ts';
import type { World } from './world.ts';

/** A page of the slots: its first address, and its index over all of them. */
export interface PageAccess {
  /**
   * Faults that one access may take while the host changes nothing: translation, permission, and spurious ones on entries that other vCPUs
   * just changed (invariant 58).
   */
  readonly faultsMax: number;
  /** Before the first access of any vCPU, which is on no CPU. */
  begin(): Op<void>;
  /** As `Cpu.access`, of the page's first byte. */
  access(ipa: Ipa, page: number, kind: AccessKind): Op<Word>;
  /** What the last fault was; null if there is nothing to handle, and the guest is to try again. In guest mode. */
  fault(): Op<FaultRecord | null>;
}

/** The access of vCPU `id`, as the scenario has it. */
export function pageAccessOf(world: World, id: number, run: VcpuRun, vcpu: Vcpu): PageAccess {
  const { stage1 } = world.scenario;
  if (stage1 === undefined) return new FlatAccess(run);
  return new PagedAccess({ world, id, run, vcpu, stage1 });
}

class FlatAccess implements PageAccess {
  readonly faultsMax = 8;
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  *begin(): Op<void> {}

  *access(ipa: Ipa, _page: number, kind: AccessKind): Op<Word> {
    return yield* this.#place.cpu.access(ipa, kind);
  }

  *fault(): Op<FaultRecord | null> {
    return this.#place.cpu.fault;
  }
}

/** Where pages are for the guest, one after the other by index: not where their IPAs are. */
const VA_BASE = 2 ** 38;
const GUEST_ASID = 1 as Asid;
const INSTRUCTIONS: Readonly<Record<AccessKind, Instruction>> = {
  read: load(8, DATA_REGISTER),
  write: store(8, DATA_REGISTER),
  exec: FETCH,
};

interface PagedOptions {
  readonly world: World;
  readonly id: number;
  readonly run: VcpuRun;
  readonly vcpu: Vcpu;
  readonly stage1: GuestStage1;
}

class PagedAccess implements PageAccess {
  /** A descriptor of each level may be in the way, too, and the last one once more to be updated. */
  readonly faultsMax = 16;
  readonly #options: PagedOptions;
  readonly #mmu: GuestMmu;
  readonly #pageBytes: number;

  constructor(options: PagedOptions) {
    const { world, run } = options;
    this.#options = options;
    this.#mmu = new GuestMmu(run, world.scenario.machine.features);
    this.#pageBytes = world.vm.parts.geometry.pageBytes;
  }

  /** The first vCPU boots: it makes the tables, which all use. */
  *begin(): Op<void> {
    const { world, id, stage1 } = this.#options;
    const slots = world.layout.slots;
    const memory = slots.at(-1) as SlotLayout;
    const base = (memory.baseGfn * this.#pageBytes) as Ipa;
    if (id === 0) yield* this.#boot({ base, bytes: memory.pages * this.#pageBytes });
    const { vaBits, accessFlag, dirtyState: setsDirty } = stage1;
    const setsAccessFlag = accessFlag === 'hardware';
    const regime = { root: base, asid: GUEST_ASID, vaBits, setsAccessFlag, setsDirty };
    this.#mmu.setRegisters(encodeStage1(regime));
  }

  *access(_ipa: Ipa, page: number, kind: AccessKind): Op<Word> {
    const at = yield* this.#mmu.access(this.#vaOf(page), INSTRUCTIONS[kind]);
    if (at === GUEST_FAULTED)
      throw new AgentFailure('guestFault', `vCPU ${this.#options.id}, ${kind} of page ${page}`);
    return at;
  }

  *fault(): Op<FaultRecord | null> {
    return (yield* this.#mmu.completeFault()) ? this.#mmu.fault : null;
  }

  /** Maps the first 4 KiB of each page of the slots, but for the one that holds the tables: more no program touches. */
  *#boot(memory: { readonly base: Ipa; readonly bytes: number }): Op<void> {
    const { world, run, vcpu, stage1 } = this.#options;
    const { vm, interconnect, layout } = world;
    const core = new GuestCore({ vm, vcpu, run, mmu: this.#mmu, interconnect });
    const tables = new GuestTables(core, memory, stage1);
    const isYoung = stage1.accessFlag === 'preset';
    const write = stage1.dirtyState ? 'dirties' : 'yes';
    yield* run.load();
    yield* core.enter();
    let page = 0;
    for (const slot of layout.slots.slice(0, -1)) {
      for (let i = 0; i < slot.pages; i++) {
        const ipa = ((slot.baseGfn + i) * this.#pageBytes) as Ipa;
        yield* tables.map(this.#vaOf(page), ipa, { isYoung, write });
        page++;
      }
    }
    yield* core.leave();
    yield* run.put();
  }

  #vaOf(page: number): Va {
    return (VA_BASE + page * this.#pageBytes) as Va;
  }
}
