/** Stage-2 protections and their encoding (specification sections 1.2, 4.2). */
import { Attributes, S2_HI, S2_LO, type Descriptor } from '../machine/descriptor.ts';
import type { MachineFeatures } from '../machine/features.ts';

/**
 * What a mapping allows. Bits, as the kernel's prot values. `ux` and `px`, execution at EL0 and at EL1 alone, can only be said with
 * FEAT_XNX; `normalNC` is Normal Non-cacheable memory; `sw0` to `sw3` are bits that only software reads.
 */
export const Prot = {
  x: 1,
  w: 2,
  r: 4,
  device: 8,
  normalNC: 16,
  ux: 32,
  px: 64,
  sw0: 128,
  sw1: 256,
  sw2: 512,
  sw3: 1024,
} as const;
const SOFTWARE_SHIFT = 7;
const EXECUTABLE = Prot.x | Prot.ux | Prot.px;

/** MemAttr[3:0] by memory type, without and with FEAT_S2FWB. */
const MEMATTR = {
  plain: { normalWriteBack: 0xf, normalNC: 0x5, deviceNGnRE: 0x1 },
  forced: { normalWriteBack: 0x6, normalNC: 0x5, deviceNGnRE: 0x1 },
} as const;

/** XN[1:0] with FEAT_XNX; without it only `both` and `nobody`. */
const XN = { both: 0, el0: 1, nobody: 2, el1: 3 } as const;

/** What decides how attributes are encoded. */
export interface Stage2Encoding extends Pick<MachineFeatures, 'fwb' | 'xnx'> {
  /** No SH bits: they belong to the address. */
  readonly lpa2: boolean;
}

/** The encoding of one machine. */
export class Stage2Attributes {
  readonly #memAttr: (typeof MEMATTR)['plain' | 'forced'];
  readonly #encoding: Stage2Encoding;

  constructor(encoding: Stage2Encoding) {
    this.#encoding = encoding;
    this.#memAttr = encoding.fwb ? MEMATTR.forced : MEMATTR.plain;
  }

  /**
   * Attributes of a new leaf, or null for what the format cannot express: memory that is executable and not Normal Write-Back, two memory
   * types at once, execution at one exception level without FEAT_XNX.
   */
  encode(prot: number): Attributes | null {
    const memAttr = this.#memoryType(prot);
    const xn = this.#xn(prot);
    if (memAttr === null || xn === null) return null;
    const shareability = this.#encoding.lpa2 ? 0 : S2_LO.SH_IS;
    const lo = (memAttr << S2_LO.MEMATTR_SHIFT) | permissions(prot) | shareability | S2_LO.AF;
    const software = prot >>> SOFTWARE_SHIFT;
    return new Attributes(lo, (xn << S2_HI.XN_SHIFT) | (software << S2_HI.SW_SHIFT));
  }

  /** FEAT_S2FWB: guest memory needs no cache maintenance. */
  get fwb(): boolean {
    return this.#encoding.fwb;
  }

  /** Whether the memory behind a leaf may be in a cache that has to be cleaned: Normal Write-Back, and the guest can turn that off. */
  needsCleaning(leaf: Descriptor): boolean {
    return !this.#encoding.fwb && leaf.memAttr() === this.#memAttr.normalWriteBack;
  }

  #memoryType(prot: number): number | null {
    const type = prot & (Prot.device | Prot.normalNC);
    if (type === 0) return this.#memAttr.normalWriteBack;
    if ((prot & EXECUTABLE) !== 0) return null;
    if (type === Prot.device) return this.#memAttr.deviceNGnRE;
    return type === Prot.normalNC ? this.#memAttr.normalNC : null;
  }

  #xn(prot: number): number | null {
    const levels = prot & (Prot.ux | Prot.px);
    if ((prot & Prot.x) !== 0 || levels === (Prot.ux | Prot.px)) return XN.both;
    if (levels === 0) return XN.nobody;
    if (!this.#encoding.xnx) return null;
    return levels === Prot.ux ? XN.el0 : XN.el1;
  }
}

/** S2AP bits for the R and W of `prot`. */
export function permissions(prot: number): number {
  return ((prot & Prot.r) !== 0 ? S2_LO.S2AP_R : 0) | ((prot & Prot.w) !== 0 ? S2_LO.S2AP_W : 0);
}
