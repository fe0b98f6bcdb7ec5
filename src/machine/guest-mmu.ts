/**
 * A vCPU's accesses by virtual address: combined entries, the guest's stage 1, and the stage 2 of the CPU it runs on (Arm ARM D8.1). With stage 1
 * off a VA is an IPA.
 *
 * A fault of stage 2 goes to the hypervisor (`fault`), be it of the access itself or of a descriptor on the way (S1PTW); one of stage 1 is the
 * guest's own (`guestFault`).
 */
import type { Op, Word } from '#port';
import type { Ipa, Phys, Va } from './address.ts';
import type { Context, Stage1Leaf } from './combined-tlb.ts';
import { FAULTED, type AccessKind, type Cpu } from './cpu.ts';
import type { MachineFeatures } from './features.ts';
import { GEOMETRY_4K } from './geometry.ts';
import { ADDRESS_TRANSLATE, type Instruction } from './instruction.ts';
import { Stage1Walker, type Stage1Result } from './stage1-walk.ts';
import { decodeStage1, type Stage1Regime, type Stage1Registers } from './stage1-registers.ts';
import { EC, FSC, FaultRecord, ISS } from './syndrome.ts';
import { MISS } from './translation-array.ts';

/** An access that faulted in the guest's own stage 1: see `GuestMmu.guestFault`. Offset 4 of the shared memory holds no guest byte. */
export const GUEST_FAULTED: Word = 4;

/**
 * HPFAR of a permission fault while stage 1 is on: not reliable (specification section 5B), so it is what nobody can take for an answer.
 */
export const UNRELIABLE_IPA: Ipa = (2 ** 52 - 4096) as Ipa;

/** What AT finds: the IPA (PAR_EL1 without F), `fault` (PAR_EL1.F), or `aborted`: the walk itself went to the hypervisor. */
export type Translated = Ipa | 'fault' | 'aborted';

/** One of the accesses that an instruction makes. */
interface Access {
  readonly va: Va;
  readonly kind: AccessKind;
  readonly instruction: Instruction;
}

const STATUS = {
  translation: FSC.translation,
  accessFlag: FSC.access,
  permission: FSC.permission,
} as const satisfies Record<Exclude<Stage1Result, 'leaf' | 'stage2'>, number>;

/** Where a vCPU runs: another CPU after each move. */
export interface Place {
  readonly cpu: Cpu;
}

export class GuestMmu {
  readonly #place: Place;
  readonly #walker: Stage1Walker;
  /** Whether the machine has what TCR_EL1.HA and HD ask for. */
  readonly #updates: boolean;
  #regime: Stage1Regime | null = null;
  /** What the hypervisor is told of the last {@link FAULTED}. */
  fault: FaultRecord = new FaultRecord(0, 0, 0);
  /** What the guest is told of the last {@link GUEST_FAULTED}. */
  guestFault: FaultRecord = new FaultRecord(0, 0, 0);

  constructor(place: Place, { hardwareAccessFlag }: Pick<MachineFeatures, 'hardwareAccessFlag'>) {
    this.#place = place;
    this.#updates = hardwareAccessFlag;
    this.#walker = new Stage1Walker(place);
  }

  get #cpu(): Cpu {
    return this.#place.cpu;
  }

  /** The guest writes its registers; null turns stage 1 off. What the TLBs hold stays. */
  setRegisters(registers: Stage1Registers | null): void {
    if (registers === null) this.#regime = null;
    else {
      const regime = decodeStage1(registers);
      const setsAccessFlag = regime.setsAccessFlag && this.#updates;
      this.#regime = { ...regime, setsAccessFlag, setsDirty: regime.setsDirty && setsAccessFlag };
    }
  }

  /** One instruction's access: its boundary, then both stages. As `Cpu.access`, or {@link GUEST_FAULTED}. */
  *access(va: Va, instruction: Instruction): Op<Word> {
    yield* this.#cpu.boundary();
    let at = FAULTED;
    for (const kind of instruction.accesses) {
      at = yield* this.#reach({ va, kind, instruction });
      if (at === FAULTED || at === GUEST_FAULTED) break;
    }
    return at;
  }

  /** AT S1E1R by the guest. Like any walk it may set the access flag. */
  *addressTranslate(va: Va): Op<Translated> {
    yield* this.#cpu.boundary();
    const regime = this.#regime;
    if (regime === null) return va as number as Ipa;
    const result = yield* this.#walker.walk(va, 'read', regime);
    if (result === 'leaf') return this.#walker.output(va);
    if (result !== 'stage2') return 'fault';
    this.#abortOnWalk({ va, kind: 'read', instruction: ADDRESS_TRANSLATE });
    return 'aborted';
  }

  /**
   * What the hypervisor does at the exit, on the guest's CPU: completes the record of a permission fault, whose IPA the hardware does not tell,
   * by translating FAR again. False if that fails: the guest changed its tables, or stage 2 lost them; it is to try again.
   */
  *completeFault(): Op<boolean> {
    const { fault } = this;
    const regime = this.#regime;
    if (regime === null || fault.type !== FSC.permission || fault.isStage1Walk()) return true;
    yield* this.#cpu.boundary();
    const va = fault.far as Va;
    const result = yield* this.#walker.walk(va, 'read', regime);
    if (result === 'leaf') this.fault = fault.at(this.#walker.output(va));
    return result === 'leaf';
  }

  *#reach(access: Access): Op<Word> {
    const { va, kind } = access;
    const regime = this.#regime;
    if (regime === null) return yield* this.#reachOutput(access, va as number as Ipa);
    const context = { vmid: this.#cpu.vmid, asid: regime.asid };
    const cached = this.#cpu.combined.find(va, context);
    if (cached !== MISS) {
      const stage1 = this.#cpu.combined.stage1Of(cached);
      // The first write has to reach the descriptor.
      if (kind !== 'write' || !stage1.dirties) return this.#hit(cached, stage1, access);
    }
    const walker = this.#walker;
    const result = yield* walker.walk(va, kind, regime);
    if (result === 'stage2') return this.#abortOnWalk(access);
    if (result !== 'leaf') return this.#abortInGuest(STATUS[result] | walker.level, access);
    const output = walker.output(va);
    const at = yield* this.#reachOutput(access, output);
    if (at !== FAULTED) this.#fill(va, context, walker.leaf(regime), output);
    return at;
  }

  /** Stage 2 of what the access is for. */
  *#reachOutput(access: Access, ipa: Ipa): Op<Word> {
    const at = yield* this.#cpu.translate(ipa, access.kind);
    if (at !== FAULTED) return at;
    const { statusCode, type } = this.#cpu.fault;
    const isReliable = this.#regime === null || type !== FSC.permission;
    return this.#abort(statusCode, access, isReliable ? ipa : UNRELIABLE_IPA);
  }

  /** A combined entry answers for both stages, the first one first. */
  #hit(entry: Word, stage1: Stage1Leaf, access: Access): Word {
    const { va, kind } = access;
    const isDenied =
      (kind === 'write' && !stage1.isWritable) || (kind === 'exec' && !stage1.isExecutable);
    if (isDenied) return this.#abortInGuest(FSC.permission | stage1.level, access);
    const { lo, hi, level, ipa, output } = this.#cpu.combined.stage2Of(entry);
    this.#cpu.tellUse(entry, ipa, level, lo, hi);
    if (!this.#cpu.permits(lo, hi, kind))
      return this.#abort(FSC.permission | level, access, UNRELIABLE_IPA);
    const offset = va - GEOMETRY_4K.pageDown(va);
    return this.#cpu.reach((output + offset) as Phys, (ipa + offset) as Ipa, lo);
  }

  /** After a translation of `ipa` by stage 2. */
  #fill(va: Va, context: Context, stage1: Stage1Leaf, ipa: Ipa): void {
    const { combined, leafLevel: level, leafLo: lo, leafHi: hi } = this.#cpu;
    const output = this.#cpu.outputOf(ipa);
    combined.fill(va, context, stage1, { level, lo, hi, ipa, output });
  }

  /** A fault of stage 2 on a descriptor. */
  #abortOnWalk(access: Access): Word {
    const { statusCode } = this.#cpu.fault;
    const iss = undecoded(access) | ISS.S1PTW;
    this.fault = recordOf(statusCode | iss, access, this.#walker.descriptor, LOWER_LEVEL);
    return FAULTED;
  }

  #abort(status: number, access: Access, ipa: Ipa): Word {
    const iss = undecoded(access) | access.instruction.transfer;
    this.fault = recordOf(status | iss, access, ipa, LOWER_LEVEL);
    return FAULTED;
  }

  #abortInGuest(status: number, access: Access): Word {
    this.guestFault = recordOf(status | undecoded(access), access, 0 as Ipa, SAME_LEVEL);
    return GUEST_FAULTED;
  }
}

const LOWER_LEVEL = { exec: EC.instructionAbortLow, data: EC.dataAbortLow } as const;
const SAME_LEVEL = { exec: EC.instructionAbortSame, data: EC.dataAbortSame } as const;

function recordOf(
  iss: number,
  { va: far, kind }: Access,
  ipa: Ipa,
  classes: typeof LOWER_LEVEL | typeof SAME_LEVEL,
): FaultRecord {
  const exceptionClass = kind === 'exec' ? classes.exec : classes.data;
  return FaultRecord.of({ exceptionClass, iss, far, ipa });
}

/** What the ISS says of any access. Cache maintenance and AT always count as writes. */
function undecoded({ kind, instruction }: Access): number {
  if (instruction.isMaintenance) return ISS.CM | ISS.WNR;
  return kind === 'write' ? ISS.WNR : 0;
}
