/** Stage-2 protections and their encoding (specification section 4.2). */
import { Attributes, MEMATTR, S2_HI, S2_LO } from '../machine/descriptor.ts';

/** What a mapping allows. Bits, as the kernel's prot values. */
export const Prot = { x: 1, w: 2, r: 4, device: 8 } as const;

/** Attributes of a new leaf, or null for what the format cannot express: executable device memory. */
export function stage2Attributes(prot: number): Attributes | null {
  return ENCODED[prot & PROT_MASK] ?? null;
}

/** S2AP bits for the R and W of `prot`. */
export function permissions(prot: number): number {
  return ((prot & Prot.r) !== 0 ? S2_LO.S2AP_R : 0) | ((prot & Prot.w) !== 0 ? S2_LO.S2AP_W : 0);
}

const PROT_MASK = 0xf;
const ENCODED: readonly (Attributes | null)[] = Array.from({ length: PROT_MASK + 1 }, (_, prot) =>
  encode(prot),
);

function encode(prot: number): Attributes | null {
  const isDevice = (prot & Prot.device) !== 0;
  const isExecutable = (prot & Prot.x) !== 0;
  if (isDevice && isExecutable) return null;
  const memAttr = isDevice ? MEMATTR.deviceNGnRE : MEMATTR.normalWriteBack;
  const lo = (memAttr << S2_LO.MEMATTR_SHIFT) | permissions(prot) | S2_LO.SH_IS | S2_LO.AF;
  return new Attributes(lo, isExecutable ? 0 : S2_HI.XN);
}
