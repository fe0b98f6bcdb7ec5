/** What a simulated machine has, as its ID registers would say (design, "Hardware is an agent too"). */

export interface MachineFeatures {
  /** Physical address bits (ID_AA64MMFR0_EL1.PARange): 32, 36, 40, 42, 44, 48 or 52. */
  readonly paBits: number;
  /** FEAT_HAFDBS: hardware sets the access flag, and the dirty state, of a guest's stage 1. */
  readonly hardwareAccessFlag: boolean;
  /** 8 or 16; machines of tests have fewer, to run out of VMIDs. */
  readonly vmidBits: 4 | 8 | 16;
  /** FEAT_S2FWB: stage 2 forces Write-Back; other MemAttr values, and no cache maintenance for guest memory. */
  readonly fwb: boolean;
  /** FEAT_XNX: XN has two bits. */
  readonly xnx: boolean;
  /** FEAT_TLBIRANGE: TLBs are invalidated by range. */
  readonly tlbiRange: boolean;
  /** CTR_EL0.DIC: what was written can be executed without invalidating instructions. */
  readonly dic: boolean;
}

/** A plain Armv8.0 machine: none of the features. */
export const ARMV8_0: MachineFeatures = {
  paBits: 48,
  hardwareAccessFlag: false,
  vmidBits: 8,
  fwb: false,
  xnx: false,
  tlbiRange: false,
  dic: false,
};

/** What limits the tables of the host kernel itself. */
export interface HostKernel extends Pick<MachineFeatures, 'paBits'> {
  /** VA_BITS. */
  readonly hostVaBits: number;
  readonly pageShift: number;
  /** Bits of physical address that the kernel was built for. */
  readonly kernelPaBits: number;
}
