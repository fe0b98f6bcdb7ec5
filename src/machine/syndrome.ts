/**
 * Fault records: ESR_EL2, FAR_EL2 and HPFAR_EL2 as the hardware leaves them for EL2 (Arm ARM D24.2.40, .44, .61;
 * specification section 5B).
 */
import type { Ipa, Level } from './address.ts';

/** Exception classes of aborts: from a lower exception level, and those that a guest takes itself. */
export const EC = {
  instructionAbortLow: 0x20,
  instructionAbortSame: 0x21,
  dataAbortLow: 0x24,
  dataAbortSame: 0x25,
} as const;

/**
 * Fault status code types: FSC bits 5:2 in place. The level is in bits 1:0: of the leaf that was found, or of the entry where the walk
 * stopped. Synchronous external aborts and parity or ECC errors are direct (no level) or happened on a walk.
 */
export const FSC = {
  translation: 0x04,
  access: 0x08,
  permission: 0x0c,
  external: 0x10,
  externalOnWalk: 0x14,
  parity: 0x18,
  parityOnWalk: 0x1c,
} as const;
const FSC_TYPE_MASK = 0x3c;
const FSC_MASK = 0x3f;
const LEVEL_MASK = 3;

const EC_SHIFT = 26;
const IL = 1 << 25;
const ISV = 1 << 24;
/** SAS, bits 23:22: log2 of the bytes of an access. */
const SAS_SHIFT = 22;
const SAS_MASK = 3;
const SAS_DOUBLEWORD = 3 << SAS_SHIFT;
const SSE = 1 << 21;
/** SRT, bits 20:16: the register transferred. */
const SRT_SHIFT = 16;
const SRT_MASK = 0x1f;
const SF = 1 << 15;
const CM = 1 << 8;
const S1PTW = 1 << 7;
const WNR = 1 << 6;

/** Bits of an abort's ISS beside its status code, in place. */
export const ISS: Readonly<Record<'CM' | 'S1PTW' | 'WNR', number>> = { CM, S1PTW, WNR };

/** The ISS bits of a decoded load or store of `bytes` (1, 2, 4 or 8) of a general register; an X register for 8. */
export function transferSyndrome(bytes: number, register: number): number {
  const sf = bytes === 8 ? SF : 0;
  return ISV | (Math.log2(bytes) << SAS_SHIFT) | (register << SRT_SHIFT) | sf;
}

const PAGE_4K = 4096;
/** HPFAR_EL2.FIPA starts at bit 4. */
const FIPA_WEIGHT = 16;

/** A64 and A32 instructions, and 16-bit T32 ones. */
const INSTRUCTION_BYTES = 4;
const SHORT_INSTRUCTION_BYTES = 2;

/** The fields of a record, for {@link FaultRecord.of}. */
export interface FaultFields {
  readonly exceptionClass: number;
  /** FSC, {@link ISS} bits, and those of a decoded transfer. */
  readonly iss: number;
  readonly far: number;
  readonly ipa: number;
}

/** What the hardware reports of one fault. */
export class FaultRecord {
  /** ESR_EL2[31:0]. */
  readonly esr: number;
  /** FAR_EL2: the faulting virtual address; without guest stage 1 equal to the IPA. */
  readonly far: number;
  /** HPFAR_EL2: IPA[51:12] in bits 43:4. */
  readonly hpfar: number;

  constructor(esr: number, far: number, hpfar: number) {
    this.esr = esr;
    this.far = far;
    this.hpfar = hpfar;
  }

  /** A stage-2 fault of a guest's own access of 8 bytes at `ipa` (stage 1 off: VA = IPA). */
  static ofAccess(
    fsc: number,
    level: Level,
    ipa: Ipa,
    kind: 'read' | 'write' | 'exec',
  ): FaultRecord {
    const isExec = kind === 'exec';
    const data = ISV | SAS_DOUBLEWORD | (kind === 'write' ? WNR : 0);
    return FaultRecord.of({
      exceptionClass: isExec ? EC.instructionAbortLow : EC.dataAbortLow,
      iss: fsc | level | (isExec ? 0 : data),
      far: ipa,
      ipa,
    });
  }

  /** A fault of a 32-bit instruction. */
  static of({ exceptionClass, iss, far, ipa }: FaultFields): FaultRecord {
    const esr = (exceptionClass << EC_SHIFT) | IL | iss;
    return new FaultRecord(esr >>> 0, far, Math.floor(ipa / PAGE_4K) * FIPA_WEIGHT);
  }

  /** The same fault with another HPFAR. */
  at(ipa: Ipa): FaultRecord {
    return new FaultRecord(this.esr, this.far, Math.floor(ipa / PAGE_4K) * FIPA_WEIGHT);
  }

  get exceptionClass(): number {
    return this.esr >>> EC_SHIFT;
  }

  /** FSC with the level bits masked: compare with {@link FSC}. */
  get type(): number {
    return this.esr & FSC_TYPE_MASK;
  }

  get statusCode(): number {
    return this.esr & FSC_MASK;
  }

  get level(): Level {
    return (this.esr & LEVEL_MASK) as Level;
  }

  isInstructionAbort(): boolean {
    return this.exceptionClass === EC.instructionAbortLow;
  }

  /** The fault was taken on a guest's stage-1 table walk. */
  isStage1Walk(): boolean {
    return (this.esr & S1PTW) !== 0;
  }

  isCacheMaintenance(): boolean {
    return (this.esr & CM) !== 0;
  }

  hasValidSyndrome(): boolean {
    return (this.esr & ISV) !== 0;
  }

  writeNotRead(): boolean {
    return (this.esr & WNR) !== 0;
  }

  /** Bytes of the access: 1, 2, 4 or 8. Like the next three only of a data abort with a valid syndrome. */
  get accessBytes(): number {
    return 1 << ((this.esr >>> SAS_SHIFT) & SAS_MASK);
  }

  /** The general register transferred; 31 is XZR. */
  get register(): number {
    return (this.esr >>> SRT_SHIFT) & SRT_MASK;
  }

  /** A load that extends the sign of what it loads. */
  isSignExtended(): boolean {
    return (this.esr & SSE) !== 0;
  }

  /** The register transferred is an X register, not a W register. */
  is64Bit(): boolean {
    return (this.esr & SF) !== 0;
  }

  /** Length of the trapped instruction, from IL. */
  get instructionBytes(): number {
    return (this.esr & IL) !== 0 ? INSTRUCTION_BYTES : SHORT_INSTRUCTION_BYTES;
  }

  /** What of the ISS means something without a valid syndrome: CM, WnR and FSC. */
  get issWithoutSyndrome(): number {
    return this.esr & (CM | WNR | FSC_MASK);
  }

  /** Faulting IPA down to the 4 KiB page, from HPFAR (4K units for every granule). */
  faultIpa(): Ipa {
    return (Math.floor(this.hpfar / FIPA_WEIGHT) * PAGE_4K) as Ipa;
  }

  /** The same with the offset in the page, from FAR. */
  exactIpa(): Ipa {
    return (this.faultIpa() + (this.far % PAGE_4K)) as Ipa;
  }
}
