/** Protections of the hypervisor's own mappings and their encoding at stage 1 of EL2 (specification sections 1.3, 3.2). */
import { Attributes } from '../machine/descriptor.ts';
import type { Geometry } from '../machine/geometry.ts';
import { Prot } from './stage2-prot.ts';

/** What the hypervisor maps its own memory as. */
interface HypProt {
  /** Data, stacks, shared structures. */
  readonly data: number;
  /** Text, vectors, the identity-mapped page. */
  readonly exec: number;
  readonly readOnly: number;
  readonly device: number;
}

export const HYP_PROT: HypProt = {
  data: Prot.r | Prot.w,
  exec: Prot.r | Prot.x,
  readOnly: Prot.r,
  device: Prot.r | Prot.w | Prot.device,
};

/** Slots of MAIR_EL2: a choice of the kernel, not of the architecture. */
const ATTR_INDX = { normal: 0, deviceNGnRE: 4 } as const;
/** AP[2:1]; AP[1] is RES1 in a regime without EL0. */
const AP = { readWrite: 1, readOnly: 3 } as const;
const SH_INNER = 3;

const ATTR_INDX_SHIFT = 2;
const AP_SHIFT = 6;
const SH_SHIFT = 8;
const AF = 0x400;
/** Bit 54, in the high half. */
const XN = 0x40_0000;

/**
 * Attributes of a new leaf, or null for what is refused: memory that cannot be read, that is both writable and executable, or
 * executable device memory. With LPA2 the bits of SH are the address's.
 */
export function hypAttributes(prot: number, { lpa2 }: Geometry): Attributes | null {
  const isExecutable = (prot & Prot.x) !== 0;
  if ((prot & Prot.r) === 0) return null;
  if (isExecutable && (prot & (Prot.w | Prot.device)) !== 0) return null;
  const attrIndx = (prot & Prot.device) !== 0 ? ATTR_INDX.deviceNGnRE : ATTR_INDX.normal;
  const ap = (prot & Prot.w) !== 0 ? AP.readWrite : AP.readOnly;
  const lo =
    (attrIndx << ATTR_INDX_SHIFT) | (ap << AP_SHIFT) | (lpa2 ? 0 : SH_INNER << SH_SHIFT) | AF;
  return new Attributes(lo, isExecutable ? 0 : XN);
}
