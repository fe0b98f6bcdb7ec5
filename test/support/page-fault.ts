/**
 * A guest of one page of data, with its tables in a slot of their own, and a user space that punches holes, answers for missing pages and makes
 * MMIO accesses, and counts what it has to do: the machine of the kernel's page_fault_test.
 */
import {
  Order,
  drive,
  high,
  load64,
  store64,
  type Op,
  type Word,
} from '../../src/engine/explore.ts';
import type { AbortVm, UserMemory } from '../../src/kvm/abort-vm.ts';
import { getDirtyLog } from '../../src/kvm/dirty-log.ts';
import { discardRange } from '../../src/kvm/host/discard.ts';
import type { HostMemory } from '../../src/kvm/host/host-memory.ts';
import type { Pinned } from '../../src/kvm/host/pinned.ts';
import type { Vma } from '../../src/kvm/host/vma.ts';
import { SlotFlag } from '../../src/kvm/memslots.ts';
import { setMemoryRegion } from '../../src/kvm/memslot-update.ts';
import { completeMmio } from '../../src/kvm/mmio.ts';
import { Vcpu } from '../../src/kvm/vcpu.ts';
import type { Asid, Hva, Ipa, Phys, Va } from '../../src/machine/address.ts';
import { NO_FRAME } from '../../src/machine/frames.ts';
import { GuestMmu } from '../../src/machine/guest-mmu.ts';
import { store, type Instruction } from '../../src/machine/instruction.ts';
import { ARMV8_0 } from '../../src/machine/features.ts';
import { PLAIN_4K } from '../../src/machine/shape.ts';
import { encodeStage1 } from '../../src/machine/stage1-registers.ts';
import { DATA_REGISTER, GuestCore, OwnCpu } from '../../src/workers/guest-core.ts';
import { GuestTables } from '../../src/workers/guest-tables.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { cpuOf, memcacheFor, type World } from '../../src/workers/world.ts';
import { Lab, PAGE } from './lab.ts';

const DATA_ID = 0;
const TABLES_ID = 1;
const DATA = 0x4000_0000;
const TABLES = 0x8000_0000;
/** Where the guest's page is, and the code in it. */
export const VA: number = 0x12_3460_0000;
const CODE_OFFSET = 0x800;
export const CODE_VA: number = VA + CODE_OFFSET;
export const CODE = 0x1234_5677;
/** What writes write. */
export const VALUE = 0x0123_4567;
/** The table that holds the page's descriptor: after the root and a table of level 2. */
const LAST_TABLE = 2;

const STORE = store(8, DATA_REGISTER);
const ANONYMOUS = { kind: 'anonymous', pageBytes: PAGE, offset: 0 } as const;

/** What user space had to do. */
export interface Counts {
  /** Missing pages that it was asked for. */
  userfaults: number;
  mmioExits: number;
  /** KVM_RUN failed: -ENOSYS. */
  failedRuns: number;
}

/** How slots are, and what was done to memory, before the one access that counts. */
export interface Condition {
  /** Hardware sets the access flag. */
  readonly accessFlag: boolean;
  /** The page's descriptor has it already. */
  readonly isYoung: boolean;
  readonly hole: 'none' | 'data' | 'both';
  /** User space answers for holes. */
  readonly userfault: boolean;
  readonly isReadonly: boolean;
  readonly isLogging: boolean;
}

/** The host's memory, whose missing pages are asked for in user space first. It answers with what was there before. */
class Userfault implements UserMemory {
  readonly mmapLock: UserMemory['mmapLock'];
  readonly counts: Counts = { userfaults: 0, mmioExits: 0, failedRuns: 0 };
  readonly #host: HostMemory;
  /** Pages that are registered: what they held, by address. */
  readonly #saved = new Map<number, readonly number[]>();

  constructor(host: HostMemory) {
    this.#host = host;
    this.mmapLock = host.mmapLock;
  }

  /** Punches a hole; `isRegistered`: the page is to be asked for. */
  punch(hva: Hva, isRegistered: boolean): void {
    const at = this.#host.contentsOf(hva);
    if (isRegistered) this.#saved.set(hva, at === null ? [] : wordsAt(at));
    const done = drive(discardRange(this.#host.mm, { hva, bytes: PAGE }));
    if (done !== 'done') throw new Error(`punching a hole: ${done}`);
  }

  *vmaAt(hva: Hva): Op<Vma | null> {
    return yield* this.#host.vmaAt(hva);
  }

  *pin(hva: Hva, isWrite: boolean): Op<Pinned> {
    const page = (hva - (hva % PAGE)) as Hva;
    const saved = this.#saved.get(page);
    if (saved !== undefined && this.#host.lookup(page) === NO_FRAME) {
      this.counts.userfaults++;
      yield* this.#fill(page, saved);
    }
    return yield* this.#host.pin(hva, isWrite);
  }

  /** A store of user space itself. */
  *store(hva: Hva, lo: number, hi: number): Op<void> {
    const { frame } = yield* this.pin(hva, true);
    yield* store64(this.#host.mm.pages.frames.wordOf(frame) + (hva % PAGE), lo, hi, Order.once);
    yield* this.unpin(frame);
  }

  *unpin(frame: Phys): Op<void> {
    yield* this.#host.unpin(frame);
  }

  *markAccessed(frame: Phys): Op<void> {
    yield* this.#host.markAccessed(frame);
  }

  *markDirty(frame: Phys): Op<void> {
    yield* this.#host.markDirty(frame);
  }

  *#fill(page: Hva, saved: readonly number[]): Op<void> {
    const { frame } = yield* this.#host.pin(page, true);
    const at = this.#host.mm.pages.frames.wordOf(frame);
    for (let i = 0; i < saved.length; i += 2)
      yield* store64(at + i * 4, saved[i] as number, saved[i + 1] as number, Order.once);
    yield* this.#host.unpin(frame);
  }
}

export class PageFaultGuest {
  readonly lab: Lab;
  readonly core: GuestCore;
  readonly #world: World;
  readonly #host: Userfault;
  readonly #dataHva: Hva;
  readonly #tableHva: Hva;

  constructor(condition: Condition) {
    this.lab = new Lab({
      vcpus: 1,
      frames: 32,
      contents: 'page',
      machine: { ...PLAIN_4K, features: { ...ARMV8_0, hardwareAccessFlag: true } },
      slots: [
        { base: DATA, bytes: 4 * PAGE, logging: false, backing: ANONYMOUS },
        { base: TABLES, bytes: 4 * PAGE, logging: false, backing: ANONYMOUS },
      ],
      stage1: { vaBits: 39, accessFlag: 'hardware', dirtyState: false },
    });
    this.#world = this.lab.view(0);
    const [data, tables] = this.#world.layout.slots;
    if (data === undefined || tables === undefined) throw new Error('two slots');
    this.#dataHva = data.hva;
    this.#tableHva = (tables.hva + LAST_TABLE * PAGE) as Hva;
    this.#host = new Userfault(this.#world.vm.parts.host);
    const vcpu = new Vcpu({ memcache: memcacheFor(this.#world, 0), retried: STATISTICS.retried });
    const cpu = cpuOf(this.#world, 0);
    cpu.load(drive(this.#world.vm.registers()));
    const run = new OwnCpu(cpu);
    const mmu = new GuestMmu(run, this.#world.scenario.machine.features);
    this.core = new GuestCore({
      vm: this.#vm(),
      vcpu,
      run,
      mmu,
      interconnect: this.#world.interconnect,
    });
    this.core.vcpu.registers.write(DATA_REGISTER, { lo: CODE, hi: 0 });
    drive(this.#boot(condition));
    this.#change(condition);
    this.core.vcpu.registers.write(DATA_REGISTER, { lo: VALUE, hi: 0 });
  }

  get counts(): Counts {
    return this.#host.counts;
  }

  /** One instruction, and what user space does about it. Gives how it ended, or the IPA that an AT found. */
  execute(va: number, instruction: Instruction | 'AT'): string {
    const { core } = this;
    const { counts } = this.#host;
    drive(core.enter());
    const found =
      instruction === 'AT'
        ? drive(core.addressTranslate(va as Va))
        : drive(core.execute(va as Va, instruction));
    if (core.ended === 'exit') drive(this.#exit());
    if (core.ended === 'noSystemCall') counts.failedRuns++;
    drive(core.leave());
    return typeof found === 'number' ? found.toString(16) : core.ended;
  }

  /** What DATA_REGISTER holds. */
  get loaded(): number {
    return this.core.vcpu.registers.read(DATA_REGISTER).lo;
  }

  /** The word of the data that accesses are for, in the host's memory. */
  get stored(): number {
    return this.#wordOf(this.#dataHva);
  }

  /** Whether the page's descriptor has its access flag. */
  get isYoung(): boolean {
    const index = Math.floor(VA / PAGE) % 512;
    return (this.#wordOf((this.#tableHva + index * 8) as Hva) & (1 << 10)) !== 0;
  }

  /** Dirty bits, harvested: of the data page and of the table that holds its descriptor. */
  dirty({ isLogging }: Condition): { readonly data: boolean; readonly table: boolean } {
    if (!isLogging) return { data: false, table: false };
    return { data: this.#isDirty(DATA_ID, 0), table: this.#isDirty(TABLES_ID, LAST_TABLE) };
  }

  #isDirty(id: number, page: number): boolean {
    const log = drive(getDirtyLog(this.#world.vm, id));
    if (typeof log === 'string') throw new Error(`the dirty log of slot ${id}: ${log}`);
    return ((log[0]?.lo ?? 0) & (1 << page)) !== 0;
  }

  /** Stage 1 off: the tables, and code that was loaded. */
  *#boot({ accessFlag, isYoung }: Condition): Op<void> {
    const { core } = this;
    core.mmu.setRegisters(null);
    yield* core.enter();
    const memory = { base: TABLES as Ipa, bytes: 4 * PAGE };
    const tables = new GuestTables(core, memory, { vaBits: 39 });
    yield* tables.map(VA as Va, DATA as Ipa, { isYoung, write: 'yes' });
    yield* core.execute((DATA + CODE_OFFSET) as Va, STORE);
    yield* core.leave();
    const registers = { root: tables.root, asid: 1 as Asid, vaBits: 39, setsDirty: false };
    core.mmu.setRegisters(encodeStage1({ ...registers, setsAccessFlag: accessFlag }));
  }

  /** Slots anew, so that their logs are clean, then holes. */
  #change({ hole, userfault, isReadonly, isLogging }: Condition): void {
    const flags = (isReadonly ? SlotFlag.readonly : 0) | (isLogging ? SlotFlag.logDirty : 0);
    for (const [id, ipa] of [DATA, TABLES].entries()) {
      const { hva } = this.#world.layout.slots[id] as { readonly hva: Hva };
      for (const bytes of [0, 4 * PAGE]) {
        const made = drive(setMemoryRegion(this.#world.vm, { id, ipa, hva, bytes, flags }));
        if (made !== 'ok') throw new Error(`slot ${id}: ${made}`);
      }
    }
    if (hole !== 'none') this.#host.punch(this.#dataHva, userfault);
    if (hole === 'both') this.#host.punch(this.#tableHva, userfault);
  }

  /** User space makes the access in its own memory. */
  *#exit(): Op<void> {
    const { vcpu } = this.core;
    if (vcpu.exit?.reason !== 'mmio') throw new Error('no MMIO exit');
    const { access, value } = vcpu.exit;
    if (access.ipa !== DATA || !access.isWrite) throw new Error('not the access of the test');
    this.#host.counts.mmioExits++;
    yield* this.#host.store(this.#dataHva, value.lo, value.hi);
    completeMmio(vcpu, access, value);
  }

  #vm(): AbortVm {
    const { vm } = this.#world;
    return {
      parts: { ...vm.parts, host: this.#host },
      memcachePagesMin: vm.memcachePagesMin,
      pgt: () => vm.pgt(),
      isInIpaSpace: (ipa) => vm.isInIpaSpace(ipa),
    };
  }

  #wordOf(hva: Hva): number {
    const at = this.#world.vm.parts.host.contentsOf((hva - (hva % PAGE)) as Hva);
    return at === null ? 0 : drive(load64(at + (hva % PAGE), Order.once));
  }
}

/** The words of a page. */
function wordsAt(at: Word): number[] {
  const words: number[] = [];
  for (let offset = 0; offset < PAGE; offset += 8)
    words.push(drive(load64(at + offset, Order.once)), high());
  return words;
}
