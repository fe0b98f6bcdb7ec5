/**
 * The abort handler over small fakes: slots and host memory say what a test tells them, the tables, locks and the notifier are real. Fakes
 * check that nothing that may sleep happens under `mmu_lock`, and that slots are used in a read section only.
 */
import { drive, type Op } from '#port';
import { Scripted } from '../../src/explore/scripted.ts';
import type { AbortSlot, AbortSlots, AbortVm, UserMemory } from '../../src/kvm/abort-vm.ts';
import { PLAIN_POLICY, type AbortPolicy } from '../../src/kvm/abort-policy.ts';
import { handleGuestAbort } from '../../src/kvm/guest-abort.ts';
import type { Pinned } from '../../src/kvm/host/pinned.ts';
import type { Vma } from '../../src/kvm/host/vma.ts';
import type { FaultMapping, Stage2Operations } from '../../src/kvm/stage2-operations.ts';
import { Vcpu, type AbortResult } from '../../src/kvm/vcpu.ts';
import type { Gfn, Hva, Phys } from '../../src/machine/address.ts';
import type { Geometry } from '../../src/machine/geometry.ts';
import { FaultRecord } from '../../src/machine/syndrome.ts';
import { digestTable } from '../../src/pgtable/digest.ts';
import { getLeaf } from '../../src/pgtable/get-leaf.ts';
import type { Outcome } from '../../src/pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../src/pgtable/pgtable.ts';
import type { Scenario } from '../../src/workers/scenario.ts';
import { STATISTICS } from '../../src/workers/statistics.ts';
import { memcacheFor } from '../../src/workers/world.ts';
import { Lab, type Seen } from '../support/lab.ts';

export const INSTRUCTION_ABORT = 0x20;
export const DATA_ABORT = 0x24;
/** Guest, user and physical address of the first byte of a slot, unless a test says otherwise: aligned to every block. */
export const IPA = 0x80_0000_0000;
export const HVA = 0x7f00_0000_0000;
export const PHYS = 0x40_0000_0000;
/** MemAttr[3:0] of Device-nGnRE. */
const DEVICE_NGNRE = 1;

/** Fields of a syndrome; numbers are raw fields, the others single bits. */
export interface Syndrome {
  readonly ec?: number;
  readonly fsc?: number;
  readonly write?: boolean;
  readonly s1ptw?: boolean;
  readonly cm?: boolean;
  readonly isv?: boolean;
  readonly sas?: number;
  readonly srt?: number;
  readonly sse?: boolean;
  readonly sf?: boolean;
  /** Default true: an instruction of 32 bits. */
  readonly il?: boolean;
}

const bit = (isSet: boolean | undefined, number: number): number =>
  isSet === true ? 2 ** number : 0;

/** The registers of a fault at `ipa`; FAR lies elsewhere, but for the offset in the page. */
export function recordOf(ipa: number, syndrome: Syndrome): FaultRecord {
  const { ec = DATA_ABORT, fsc = 0x07, sas = 0, srt = 0, il = true } = syndrome;
  const { write, s1ptw, cm, isv, sse, sf } = syndrome;
  const numbers = ec * 2 ** 26 + sas * 2 ** 22 + srt * 2 ** 16 + fsc;
  const bits = bit(write, 6) + bit(s1ptw, 7) + bit(cm, 8) + bit(sf, 15) + bit(sse, 21);
  const esr = numbers + bits + bit(isv, 24) + bit(il, 25);
  return new FaultRecord(esr, farOf(ipa), Math.floor(ipa / 4096) * 16);
}

/** FAR of a fault at `ipa`. */
export function farOf(ipa: number): number {
  return 0x7654_3000 + (ipa % 4096);
}

export interface SlotSpec {
  readonly ipa?: number;
  readonly hva?: number;
  readonly bytes: number;
  readonly isReadonly?: boolean;
  readonly isInvalid?: boolean;
  readonly isLogging?: boolean;
}

class FakeSlot implements AbortSlot {
  readonly id = 0;
  readonly baseGfn: Gfn;
  readonly pages: number;
  readonly hva: Hva;
  readonly isReadonly: boolean;
  readonly isInvalid: boolean;
  readonly #pageBytes: number;
  readonly #isLogging: boolean;
  readonly #log: string[];

  constructor(spec: SlotSpec, pageBytes: number, log: string[]) {
    this.baseGfn = ((spec.ipa ?? IPA) / pageBytes) as Gfn;
    this.pages = spec.bytes / pageBytes;
    this.hva = (spec.hva ?? HVA) as Hva;
    this.isReadonly = spec.isReadonly ?? false;
    this.isInvalid = spec.isInvalid ?? false;
    this.#isLogging = spec.isLogging ?? false;
    this.#pageBytes = pageBytes;
    this.#log = log;
  }

  isLogging(): boolean {
    return this.#isLogging;
  }

  hvaOf(gfn: Gfn): Hva {
    return (this.hva + (gfn - this.baseGfn) * this.#pageBytes) as Hva;
  }

  *markDirty(gfn: Gfn): Op<void> {
    this.#log.push(`log page ${gfn - this.baseGfn}`);
  }
}

class FakeSlots implements AbortSlots {
  readonly slots: FakeSlot[] = [];
  /** Depth of read sections. */
  sections = 0;

  *readLock(): Op<void> {
    this.sections++;
  }

  *readUnlock(): Op<void> {
    this.sections--;
  }

  *lookup(gfn: Gfn): Op<AbortSlot | undefined> {
    if (this.sections !== 1) throw new Error('a lookup outside of one read section');
    return this.slots.find(({ baseGfn, pages }) => gfn >= baseGfn && gfn < baseGfn + pages);
  }
}

/** Where another agent may come in between. */
export type Moment = 'lookup' | 'mmap unlock' | 'pin' | 'pinned';

/** Its own mmap lock. */
export class FakeHost implements UserMemory {
  readonly mmapLock: UserMemory['mmapLock'] = this;
  vma: Vma | null = null;
  /** Level of the host's own mapping, and what a pin finds. */
  found: Pick<Pinned, 'status' | 'isWritable' | 'level'> = {
    status: 'page',
    isWritable: true,
    level: 3,
  };
  /** Runs once, there. */
  interruption: { readonly at: Moment; readonly action: () => Op<void> } | null = null;
  /** The address whose area was looked up last. */
  areaAsked: Hva | null = null;
  /** References that are out. */
  pins = 0;
  readonly #log: string[];
  readonly #mayNotSleep: () => boolean;
  #isLocked = false;

  constructor(log: string[], mayNotSleep: () => boolean) {
    this.#log = log;
    this.#mayNotSleep = mayNotSleep;
  }

  *readLock(): Op<void> {
    this.#mustMaySleep();
    this.#isLocked = true;
  }

  *readUnlock(): Op<void> {
    this.#isLocked = false;
    yield* this.#reach('mmap unlock');
  }

  *vmaAt(hva: Hva): Op<Vma | null> {
    this.areaAsked = hva;
    if (!this.#isLocked) throw new Error('areas looked up without the mmap lock');
    yield* this.#reach('lookup');
    return this.vma;
  }

  *pin(hva: Hva, isWrite: boolean): Op<Pinned> {
    this.#mustMaySleep();
    if (this.#isLocked) throw new Error('a pin under the mmap lock');
    yield* this.#reach('pin');
    this.#log.push(`pin +${(hva - HVA).toString(16)} for ${isWrite ? 'writing' : 'reading'}`);
    const result = { ...this.found, frame: (PHYS + (hva - HVA)) as Phys };
    if (result.status === 'page') this.pins++;
    yield* this.#reach('pinned');
    return result;
  }

  *unpin(frame: Phys): Op<void> {
    this.#mustMaySleep();
    this.#note('unpin', frame);
    if (this.found.status === 'page') this.pins--;
  }

  *markAccessed(frame: Phys): Op<void> {
    this.#mustMaySleep();
    this.#note('accessed', frame);
  }

  *markDirty(frame: Phys): Op<void> {
    this.#note('dirty', frame);
  }

  #note(what: string, frame: Phys): void {
    if (this.found.status === 'page') this.#log.push(`${what} ${frame.toString(16)}`);
  }

  #mustMaySleep(): void {
    if (this.#mayNotSleep()) throw new Error('sleeping under mmu_lock');
  }

  *#reach(moment: Moment): Op<void> {
    if (this.interruption?.at !== moment) return;
    const { action } = this.interruption;
    this.interruption = null;
    yield* action();
  }
}

export interface AbortBenchOptions {
  readonly slot?: SlotSpec;
  readonly vma?: Partial<Vma>;
  readonly found?: Partial<FakeHost['found']>;
  readonly policy?: Partial<AbortPolicy>;
  readonly scenario?: Partial<Scenario>;
}

export class AbortBench {
  readonly lab: Lab;
  readonly geometry: Geometry;
  readonly host: FakeHost;
  readonly slots: FakeSlots = new FakeSlots();
  readonly vcpu: Vcpu;
  readonly vm: AbortVm;
  /** What was asked of slots and host, in order. */
  readonly log: string[] = [];
  /** What the table code was given last. */
  mapping: FaultMapping | null = null;
  /** What the table code answers instead of being asked. */
  outcome: Outcome | null = null;
  readonly #stage2: Stage2Operations;

  /** `slot`: none unless given; `vma`: an anonymous area. */
  constructor(options: AbortBenchOptions = {}) {
    this.lab = new Lab(options.scenario);
    const { vm } = this.lab.world;
    const { mmuLock, stage2, geometry } = vm.parts;
    this.geometry = geometry;
    const isHeld = (): boolean => {
      try {
        mmuLock.assertHeldFor('read');
        return true;
      } catch {
        return false;
      }
    };
    this.host = new FakeHost(this.log, isHeld);
    this.setArea(options.vma ?? {});
    this.host.found = { ...this.host.found, ...options.found };
    if (options.slot !== undefined) this.setSlot(options.slot);
    const memcache = memcacheFor(this.lab.world, 0);
    this.vcpu = new Vcpu({ memcache, retried: STATISTICS.retried });
    this.#stage2 = stage2;
    const recording = Object.create(stage2) as Stage2Operations;
    recording.faultIn = (pgt, mapping) => this.#record(pgt, mapping);
    this.vm = {
      parts: {
        ...vm.parts,
        stage2: recording,
        host: this.host,
        memslots: this.slots,
        policy: { ...PLAIN_POLICY, ...options.policy },
      },
      memcachePagesMin: vm.memcachePagesMin,
      pgt: () => vm.pgt(),
      isInIpaSpace: (ipa) => vm.isInIpaSpace(ipa),
    };
  }

  *#record(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome> {
    this.mapping = mapping;
    this.log.push('table');
    return this.outcome ?? (yield* this.#stage2.faultIn(pgt, mapping));
  }

  /** Replaces the slot. */
  setSlot(spec: SlotSpec): void {
    this.slots.slots[0] = new FakeSlot(spec, this.geometry.pageBytes, this.log);
  }

  /** Replaces the area. */
  setArea(vma: Partial<Vma>): void {
    const { pageBytes } = this.geometry;
    const area = { hva: HVA as Hva, bytes: 2 ** 40, kind: 'anonymous', isWritable: true } as const;
    this.host.vma = { ...area, hugeBytes: pageBytes, ...vma };
  }

  /** Handles a fault; every lock, section and reference must be given back. */
  handle(ipa: number, syndrome: Syndrome): AbortResult {
    this.vcpu.fault = recordOf(ipa, syndrome);
    const result = drive(handleGuestAbort(this.vm, this.vcpu));
    if (this.slots.sections !== 0 || this.host.pins !== 0) throw new Error('something is kept');
    const { mmuLock } = this.vm.parts;
    drive(mmuLock.lock());
    drive(mmuLock.unlock());
    return result;
  }

  /** What happens while a fault is handled. */
  eventsOf(ipa: number, syndrome: Syndrome): readonly Seen[] {
    this.vcpu.fault = recordOf(ipa, syndrome);
    return this.lab.run(new Scripted([]), [() => handleGuestAbort(this.vm, this.vcpu)]);
  }

  /** `3 4000000000 rw-` of the leaf of an address, `device` behind it where it is; `none` without one. */
  leaf(ipa: number): string {
    const leaf = drive(getLeaf(this.pgt(), ipa));
    if (typeof leaf === 'string') throw new Error(leaf);
    const { entry, level } = leaf;
    if (!entry.isValid()) return 'none';
    const prot = `r${entry.isWritable() ? 'w' : '-'}${entry.isExecutable() ? 'x' : '-'}`;
    const type = entry.memAttr() === DEVICE_NGNRE ? ' device' : '';
    return `${level} ${entry.address(this.geometry).toString(16)} ${prot}${type}`;
  }

  digest(): string {
    return drive(digestTable(this.pgt())).hex();
  }

  /** The log since the last call. */
  taken(): string[] {
    return this.log.splice(0);
  }

  /** A notifier's invalidation that starts, and ends unless it stays open. */
  *invalidate(end: 'ends' | 'stays open' = 'ends'): Op<void> {
    const { mmuLock, notifier } = this.vm.parts;
    yield* mmuLock.lock();
    yield* notifier.startLocked();
    if (end === 'ends') yield* notifier.endLocked();
    yield* mmuLock.unlock();
  }

  pgt(): Stage2Pgtable {
    const pgt = drive(this.lab.world.vm.pgt());
    if (pgt === null) throw new Error('no stage-2 table');
    return pgt;
  }
}
