/** What the owner of a VM and its host decided for aborts that memory does not explain. */
import type { FaultRecord } from '../machine/syndrome.ts';
import type { MmioDevice } from './mmio.ts';

export interface AbortPolicy {
  /** Whether the host's RAS code takes care of an external abort or ECC error; otherwise the guest gets an SError. */
  claimsExternalAbort(fault: FaultRecord): boolean;
  /** Devices that the kernel emulates. */
  readonly devices: readonly MmioDevice[];
  /** Whether user space takes accesses whose instruction is not decoded (KVM_CAP_ARM_NISV_TO_USER). */
  readonly nisvToUser: boolean;
}

/** No RAS, no devices, and user space knows decoded accesses only. */
export const PLAIN_POLICY: AbortPolicy = {
  claimsExternalAbort: () => false,
  devices: [],
  nisvToUser: false,
};
