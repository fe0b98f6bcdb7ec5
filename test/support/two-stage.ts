/** A CPU under a stage-2 table and a guest's own tables, both planted by hand. */
import { drive, type Op, type Word } from '../../src/engine/explore.ts';
import type { Asid, Ipa, Level, Phys, Va, Vmid } from '../../src/machine/address.ts';
import { FAULTED, type Cpu } from '../../src/machine/cpu.ts';
import { GUEST_RAM_BASE } from '../../src/machine/frames.ts';
import { GUEST_FAULTED, GuestMmu, type Translated } from '../../src/machine/guest-mmu.ts';
import type { Instruction } from '../../src/machine/instruction.ts';
import { encodeStage1, type Stage1Regime } from '../../src/machine/stage1-registers.ts';
import type { FaultRecord } from '../../src/machine/syndrome.ts';
import type { TlbiCommand } from '../../src/machine/tlbi.ts';
import { encodeVttbr } from '../../src/machine/vtcr.ts';
import { TinyMachine, configOf, type Seen } from './tiny-machine.ts';

export const PAGE = 4096;
/** Guest memory: page n is in frame n, where stage 2 maps it. A gigabyte block could begin here. */
const RAM = 0x4000_0000;
/** IPA of guest page n. */
export const pageOf = (n: number): number => RAM + n * PAGE;

/** Stage-2 attributes of a page: Normal, young; RW and not executable unless edited. */
export const S2_PAGE = 0x0040_0000_0000_07ffn;
export const S2_W: bigint = 1n << 7n;
export const S2_XN: bigint = 1n << 54n;
export const S2_AF: bigint = 1n << 10n;

/** Stage-1 fields: a young page of one ASID, readable and writable, executable. */
export const S1_PAGE = 0xf03n;
export const S1_BLOCK = 0xf01n;
const S1_TABLE = 3n;
export const S1_RO: bigint = 1n << 7n;
export const S1_AF: bigint = 1n << 10n;
export const S1_NG: bigint = 1n << 11n;
export const S1_DBM: bigint = 1n << 51n;
export const S1_PXN: bigint = 1n << 53n;

/** Where an access came to: a byte of guest memory, or the record of a fault and who gets it. */
export type Reached =
  | { readonly at: number }
  | { readonly hypervisor: FaultRecord }
  | { readonly guest: FaultRecord };

export class TwoStage {
  readonly machine: TinyMachine;
  readonly cpu: Cpu;
  readonly mmu: GuestMmu;
  readonly root: Phys;

  /** `pages`: guest pages, of which stage 2 maps none yet. The guest's root is page 0. */
  constructor(pages = 16, regime: Partial<Stage1Regime> = {}, hardwareAccessFlag = true) {
    this.machine = new TinyMachine({ guestFrames: pages, contentBytes: PAGE, cpus: 2 });
    this.root = drive(this.machine.main.memory.tables.zallocContiguous(2));
    this.cpu = this.machine.main.cpu(0);
    this.loadVm(1);
    this.mmu = new GuestMmu(this, { hardwareAccessFlag });
    this.setRegime(regime);
    drive(this.cpu.enterGuest());
  }

  /** In the host only. */
  loadVm(vmid: number): void {
    const vttbr = encodeVttbr(this.root, vmid as Vmid);
    this.cpu.load({ vtcr: configOf(40).vtcr, vttbr });
  }

  /** 39 bits of VA, no hardware updates, ASID 1, unless said otherwise. */
  setRegime(regime: Partial<Stage1Regime>): void {
    const plain = { root: pageOf(0) as Ipa, asid: 1 as Asid, vaBits: 39 };
    const off = { setsAccessFlag: false, setsDirty: false };
    this.mmu.setRegisters(encodeStage1({ ...plain, ...off, ...regime }));
  }

  /** Maps guest page n in stage 2, to frame `frame`. */
  map(n: number, bits: bigint = S2_PAGE, frame: number = n): void {
    this.plantStage2(pageOf(n), 3, BigInt(GUEST_RAM_BASE + frame * PAGE) | bits);
  }

  mapAll(): void {
    for (let n = 0; n < this.machine.guestZone.frames; n++) this.map(n);
  }

  plantStage2(ipa: number, level: Level, value: bigint): void {
    this.machine.plant(this.root, 1, ipa, level, value);
  }

  /** Descriptor `index` of the guest table in page n. */
  setDescriptor(n: number, index: number, value: bigint): void {
    const { words } = this.machine.memory;
    const at = this.#wordOf(n, index);
    words[at] = Number(BigInt.asIntN(32, value));
    words[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
  }

  descriptor(n: number, index: number): bigint {
    const { words } = this.machine.memory;
    const at = this.#wordOf(n, index);
    return (unsigned(words[at + 1]) << 32n) | unsigned(words[at]);
  }

  #wordOf(n: number, index: number): number {
    return (this.machine.guestZone.contents + n * PAGE + index * 8) / 4;
  }

  /** Tables in pages 0, 1, 2 for VAs below 2 MiB; leaf `index` of the last one is `leaf`. */
  plantGuest(index: number, leaf: bigint): void {
    this.setDescriptor(0, 0, BigInt(pageOf(1)) | S1_TABLE);
    this.setDescriptor(1, 0, BigInt(pageOf(2)) | S1_TABLE);
    this.setDescriptor(2, index, leaf);
  }

  access(va: number, instruction: Instruction): Reached {
    return this.record(va, instruction).reached;
  }

  /** The same with its events. */
  record(
    va: number,
    instruction: Instruction,
  ): { readonly reached: Reached; readonly seen: readonly Seen[] } {
    const { mmu } = this;
    let at: Word = FAULTED;
    const seen = this.machine.alone(function* () {
      at = yield* mmu.access(va as Va, instruction);
    });
    if (at === FAULTED) return { reached: { hypervisor: mmu.fault }, seen };
    if (at === GUEST_FAULTED) return { reached: { guest: mmu.guestFault }, seen };
    return { reached: { at: at - this.machine.guestZone.contents }, seen };
  }

  addressTranslate(va: number): Translated {
    return drive(this.mmu.addressTranslate(va as Va));
  }

  /** TLBIs of the host, completed. */
  invalidate(...commands: readonly TlbiCommand[]): void {
    const { interconnect } = this.machine.agent();
    const { cpu } = this;
    drive(
      (function* (): Op<void> {
        for (const command of commands) yield* interconnect.tlbi(command);
        yield* cpu.boundary();
        yield* interconnect.dsbIsh();
      })(),
    );
  }
}

function unsigned(half: number | undefined): bigint {
  return BigInt((half as number) >>> 0);
}
