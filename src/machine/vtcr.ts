/** VTCR_EL2 and VTTBR_EL2 (Arm ARM D24.2.200, .201; specification section 1.6), 4K granule. */
import { GEOMETRY_4K, stage2Root } from './geometry.ts';
import { HIGH_WEIGHT, type Level, type Phys, type Vmid } from './address.ts';

/** The stage-2 registers of a CPU that runs a guest. */
export interface Stage2Registers {
  /** VTCR_EL2 bits 31:0. */
  readonly vtcr: number;
  /** VTTBR_EL2 as halves. */
  readonly vttbr: { readonly lo: number; readonly hi: number };
}

/** What a VTCR value is made from. */
export interface VtcrFields {
  readonly ipaBits: number;
  /** Physical address bits of the machine (ID PARange), not of the IPA space. */
  readonly paBits: number;
  readonly hardwareAccessFlag: boolean;
  readonly vmidBits: 8 | 16;
}

const T0SZ_MASK = 0x3f;
const SL0_SHIFT = 6;
const IRGN0_WBWA = 1 << 8;
const ORGN0_WBWA = 1 << 10;
const SH0_IS = 3 << 12;
const PS_SHIFT = 16;
const VS = 1 << 19;
const HA = 1 << 21;
const RES1 = 0x8000_0000;
/** SL0 is this minus the start level, for the 4K granule. */
const SL0_BASE_4K = 2;
const PS_OF_PA_BITS: Readonly<Record<number, number>> = {
  32: 0,
  36: 1,
  40: 2,
  42: 3,
  44: 4,
  48: 5,
  52: 6,
};

/** VTCR_EL2 bits 31:0, unsigned. Throws on a PARange the architecture does not have. */
export function encodeVtcr(fields: VtcrFields): number {
  const ps = PS_OF_PA_BITS[fields.paBits];
  if (ps === undefined) throw new Error(`no PARange of ${fields.paBits} bits`);
  const { startLevel } = stage2Root(GEOMETRY_4K, fields.ipaBits);
  const bits =
    (64 - fields.ipaBits) |
    ((SL0_BASE_4K - startLevel) << SL0_SHIFT) |
    IRGN0_WBWA |
    ORGN0_WBWA |
    SH0_IS |
    (ps << PS_SHIFT) |
    (fields.vmidBits === 16 ? VS : 0) |
    (fields.hardwareAccessFlag ? HA : 0) |
    RES1;
  return bits >>> 0;
}

/** IPA bits and start level that a VTCR value configures. */
export function decodeVtcr(vtcr: number): { readonly ipaBits: number; readonly startLevel: Level } {
  const ipaBits = 64 - (vtcr & T0SZ_MASK);
  return { ipaBits, startLevel: (SL0_BASE_4K - ((vtcr >>> SL0_SHIFT) & 3)) as Level };
}

/** VTTBR_EL2 halves: VMID in bits 63:48, the root's address below. */
export function encodeVttbr(root: Phys, vmid: Vmid): { readonly lo: number; readonly hi: number } {
  return { lo: root | 0, hi: (vmid << 16) | Math.floor(root / HIGH_WEIGHT) };
}

/** Root and VMID of VTTBR_EL2 halves. */
export function decodeVttbr(lo: number, hi: number): { readonly root: Phys; readonly vmid: Vmid } {
  return {
    root: ((hi & 0xffff) * HIGH_WEIGHT + (lo >>> 0)) as Phys,
    vmid: (hi >>> 16) as Vmid,
  };
}
