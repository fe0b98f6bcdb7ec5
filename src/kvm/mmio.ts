/** Accesses that no memory backs (specification section 5D): emulated in the kernel, or handed to user space. */
import type { Op } from '#port';
import type { Ipa } from '../machine/address.ts';
import type { FaultRecord } from '../machine/syndrome.ts';
import type { AbortPolicy } from './abort-policy.ts';
import type { RegisterValue } from './registers.ts';
import type { AbortResult, Vcpu } from './vcpu.ts';

/** A decoded load or store. */
export interface MmioAccess {
  readonly ipa: Ipa;
  /** 1, 2, 4 or 8. */
  readonly bytes: number;
  readonly isWrite: boolean;
  /** The general register transferred. */
  readonly register: number;
  readonly isSignExtended: boolean;
  readonly is64Bit: boolean;
  /** Of the instruction, which is stepped over once the access was made. */
  readonly instructionBytes: number;
}

/** A device that the kernel emulates. Only accesses that lie whole inside it reach it; a value has no bits beyond `bytes`. */
export interface MmioDevice {
  readonly ipa: Ipa;
  readonly bytes: number;
  read(offset: number, bytes: number): Op<RegisterValue>;
  write(offset: number, bytes: number, value: RegisterValue): Op<void>;
}

/** Handles a data abort at `ipa`, to the byte, that no slot serves. Without a decoded instruction it is for user space, if that volunteered. */
export function* ioMemAbort(policy: AbortPolicy, vcpu: Vcpu, ipa: Ipa): Op<AbortResult> {
  const { fault } = vcpu;
  if (!fault.hasValidSyndrome()) {
    if (!policy.nisvToUser) return 'noSystemCall';
    vcpu.exit = { reason: 'nisv', iss: fault.issWithoutSyndrome, ipa };
    return 'exit';
  }
  const access = decode(fault, ipa);
  const device = policy.devices.find((each) => contains(each, access));
  if (device === undefined) {
    vcpu.exit = { reason: 'mmio', access, value: valueOf(vcpu, access) };
    return 'exit';
  }
  const value = yield* perform(device, access, valueOf(vcpu, access));
  completeMmio(vcpu, access, value);
  return 'resume';
}

/** Ends an access that the kernel or user space made: a load's register gets `value`, the instruction is stepped over. */
export function completeMmio(vcpu: Vcpu, access: MmioAccess, value: RegisterValue): void {
  if (!access.isWrite) vcpu.registers.write(access.register, loaded(access, value));
  vcpu.pcAdvance += access.instructionBytes;
}

function decode(fault: FaultRecord, ipa: Ipa): MmioAccess {
  return {
    ipa,
    bytes: fault.accessBytes,
    isWrite: fault.writeNotRead(),
    register: fault.register,
    isSignExtended: fault.isSignExtended(),
    is64Bit: fault.is64Bit(),
    instructionBytes: fault.instructionBytes,
  };
}

function contains(device: MmioDevice, { ipa, bytes }: MmioAccess): boolean {
  return ipa >= device.ipa && ipa + bytes <= device.ipa + device.bytes;
}

function* perform(device: MmioDevice, access: MmioAccess, value: RegisterValue): Op<RegisterValue> {
  const offset = access.ipa - device.ipa;
  if (!access.isWrite) return yield* device.read(offset, access.bytes);
  yield* device.write(offset, access.bytes, value);
  return value;
}

/** What a store stores: the register's low bytes. Zero for a load. */
function valueOf(vcpu: Vcpu, access: MmioAccess): RegisterValue {
  if (!access.isWrite) return { lo: 0, hi: 0 };
  const { lo, hi } = vcpu.registers.read(access.register);
  return { lo: lowBits(lo, access.bytes), hi: access.bytes === 8 ? hi : 0 };
}

/** What a load leaves in its register; one of W is zero above. */
function loaded(access: MmioAccess, { lo, hi }: RegisterValue): RegisterValue {
  if (access.bytes === 8) return { lo, hi };
  if (!access.isSignExtended) return { lo: lowBits(lo, access.bytes), hi: 0 };
  const unused = 32 - 8 * access.bytes;
  const extended = (lo << unused) >> unused;
  return { lo: extended, hi: access.is64Bit ? extended >> 31 : 0 };
}

function lowBits(lo: number, bytes: number): number {
  return bytes < 4 ? lo & (2 ** (8 * bytes) - 1) : lo;
}
