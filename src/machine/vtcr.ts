/** VTCR_EL2 and VTTBR_EL2 (Arm ARM D24.2.200, .201; specification section 1.6). */
import type { MachineFeatures } from './features.ts';
import { stage2Root, type Geometry } from './geometry.ts';
import { HIGH_WEIGHT, highHalf, lowHalf, type Level, type Phys, type Vmid } from './address.ts';

/** The stage-2 registers of a CPU that runs a guest. */
export interface Stage2Registers {
  /** VTCR_EL2, at most 33 bits. */
  readonly vtcr: number;
  /** VTTBR_EL2 as halves. */
  readonly vttbr: { readonly lo: number; readonly hi: number };
}

/** What a VTCR value is made from. */
export interface VtcrFields extends Pick<
  MachineFeatures,
  'paBits' | 'hardwareAccessFlag' | 'vmidBits'
> {
  readonly geometry: Geometry;
  readonly ipaBits: number;
}

const T0SZ_MASK = 0x3f;
const SL0_SHIFT = 6;
const SL0_MASK = 3;
const IRGN0_WBWA = 1 << 8;
const ORGN0_WBWA = 1 << 10;
const SH0_IS = 3 << 12;
const TG0_SHIFT = 14;
const TG0_MASK = 3;
const PS_SHIFT = 16;
const VS = 1 << 19;
const HA = 1 << 21;
const RES1 = 0x8000_0000;
/** DS, bit 32: the only field above bit 31 here. */
const DS = HIGH_WEIGHT;
const PS_OF_PA_BITS: Readonly<Record<number, number>> = {
  32: 0,
  36: 1,
  40: 2,
  42: 3,
  44: 4,
  48: 5,
  52: 6,
};

/** TG0 values, and the start level that SL0 = 0 means, per granule. */
const GRANULES = [
  { pageShift: 12, tg0: 0, sl0Base: 2 },
  { pageShift: 16, tg0: 1, sl0Base: 3 },
  { pageShift: 14, tg0: 2, sl0Base: 3 },
] as const;

/** VTCR_EL2, at most 33 bits. Throws on a PARange the architecture does not have. */
export function encodeVtcr(fields: VtcrFields): number {
  const { geometry, ipaBits, paBits } = fields;
  const ps = PS_OF_PA_BITS[paBits];
  if (ps === undefined) throw new Error(`no PARange of ${paBits} bits`);
  const granule = GRANULES.find(({ pageShift }) => pageShift === geometry.pageShift);
  if (granule === undefined) throw new Error(`no granule of 2^${geometry.pageShift} bytes`);
  const { startLevel } = stage2Root(geometry, ipaBits);
  const bits =
    (64 - ipaBits) |
    ((granule.sl0Base - startLevel) << SL0_SHIFT) |
    IRGN0_WBWA |
    ORGN0_WBWA |
    SH0_IS |
    (granule.tg0 << TG0_SHIFT) |
    (ps << PS_SHIFT) |
    (fields.vmidBits === 16 ? VS : 0) |
    (fields.hardwareAccessFlag ? HA : 0) |
    RES1;
  return (bits >>> 0) + (geometry.lpa2 ? DS : 0);
}

/** What a VTCR value configures a walk with. */
export interface VtcrRegime {
  /** log2 of the granule. */
  readonly pageShift: number;
  readonly ipaBits: number;
  readonly startLevel: Level;
  readonly lpa2: boolean;
}

/** Decodes the fields of a walk. Throws on the reserved granule. */
export function decodeVtcr(vtcr: number): VtcrRegime {
  const tg0 = (vtcr >>> TG0_SHIFT) & TG0_MASK;
  const granule = GRANULES.find((candidate) => candidate.tg0 === tg0);
  if (granule === undefined) throw new Error('VTCR_EL2.TG0 is reserved');
  return {
    pageShift: granule.pageShift,
    ipaBits: 64 - (vtcr & T0SZ_MASK),
    startLevel: (granule.sl0Base - ((vtcr >>> SL0_SHIFT) & SL0_MASK)) as Level,
    lpa2: vtcr >= DS,
  };
}

/** BADDR holds address bits 51:48 in bits 5:2: a root is aligned to 64 bytes at least. */
const BADDR_FOLD_SHIFT = 2;
const BADDR_FOLD_MASK = 0x3c;
const BADDR_FOLD_FROM = 16;

/** VTTBR_EL2 halves: VMID in bits 63:48, the root's address below. */
export function encodeVttbr(root: Phys, vmid: Vmid): { readonly lo: number; readonly hi: number } {
  const above = highHalf(root);
  const folded = (above >>> BADDR_FOLD_FROM) << BADDR_FOLD_SHIFT;
  return { lo: lowHalf(root) | folded, hi: (vmid << 16) | (above & 0xffff) };
}

/** Root and VMID of VTTBR_EL2 halves. */
export function decodeVttbr(lo: number, hi: number): { readonly root: Phys; readonly vmid: Vmid } {
  const folded = (lo & BADDR_FOLD_MASK) >>> BADDR_FOLD_SHIFT;
  const above = folded * 2 ** BADDR_FOLD_FROM + (hi & 0xffff);
  return {
    root: (above * HIGH_WEIGHT + ((lo & ~BADDR_FOLD_MASK) >>> 0)) as Phys,
    vmid: (hi >>> 16) as Vmid,
  };
}
