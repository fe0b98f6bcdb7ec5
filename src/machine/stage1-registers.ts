/**
 * TCR_EL1 and TTBR0_EL1 of a guest with its MMU on (Arm ARM D24.2.180, .186), as far as this machine has them: 4K granule, TTBR0 alone,
 * ASIDs of 8 bits.
 */
import { HIGH_WEIGHT, highHalf, lowHalf, type Asid, type Ipa, type Level } from './address.ts';

export interface Stage1Registers {
  /** TCR_EL1, at most 41 bits. */
  readonly tcr: number;
  /** TTBR0_EL1 as halves. */
  readonly ttbr0: { readonly lo: number; readonly hi: number };
}

/** What the registers are made from, and configure a walk with. */
export interface Stage1Regime {
  readonly root: Ipa;
  readonly asid: Asid;
  /** Bits of VA: 39 or 48. */
  readonly vaBits: number;
  /** TCR_EL1.HA: hardware sets the access flag. */
  readonly setsAccessFlag: boolean;
  /** TCR_EL1.HD: hardware makes what has DBM writable at the first write; with HA only. */
  readonly setsDirty: boolean;
}

const T0SZ_MASK = 0x3f;
const IRGN0_WBWA = 1 << 8;
const ORGN0_WBWA = 1 << 10;
const SH0_IS = 3 << 12;
/** No walks for the upper half of addresses. */
const EPD1 = 1 << 23;
/** Of the high half: IPS, bits 34:32, then single bits. */
const IPS_48 = 5;
const HA = 1 << 7;
const HD = 1 << 8;
const ASID_SHIFT = 16;

export function encodeStage1(regime: Stage1Regime): Stage1Registers {
  const { root, asid, vaBits, setsAccessFlag, setsDirty } = regime;
  if (vaBits !== 39 && vaBits !== 48) throw new Error(`no stage 1 of ${vaBits} bits of VA`);
  const low = (64 - vaBits) | IRGN0_WBWA | ORGN0_WBWA | SH0_IS | EPD1;
  const updates = (setsAccessFlag ? HA : 0) | (setsDirty ? HD : 0);
  const above = IPS_48 | updates;
  return {
    tcr: above * HIGH_WEIGHT + low,
    ttbr0: { lo: lowHalf(root), hi: (asid << ASID_SHIFT) | highHalf(root) },
  };
}

export function decodeStage1({ tcr, ttbr0 }: Stage1Registers): Stage1Regime {
  const above = highHalf(tcr);
  const setsAccessFlag = (above & HA) !== 0;
  return {
    root: ((ttbr0.hi & 0xffff) * HIGH_WEIGHT + (ttbr0.lo >>> 0)) as Ipa,
    asid: (ttbr0.hi >>> ASID_SHIFT) as Asid,
    vaBits: 64 - (lowHalf(tcr) & T0SZ_MASK),
    setsAccessFlag,
    setsDirty: setsAccessFlag && (above & HD) !== 0,
  };
}

/** Level of the root's entries. */
export function stage1StartLevel({ vaBits }: Pick<Stage1Regime, 'vaBits'>): Level {
  return (4 - Math.ceil((vaBits - 12) / 9)) as Level;
}
