/**
 * The words of one physical CPU in shared memory: a line of its own, whose address `Interconnect.answerOf` gives. A CPU is no object: vCPUs
 * that run on it one after the other, each on its own thread, find here what the one before left.
 */
import { read32, write32, type Word } from '#port';
import { HIGH_WEIGHT, highHalf, lowHalf } from './address.ts';
import type { Stage2Registers } from './vtcr.ts';

/** Byte offsets in the line. The words up to `performed` are read by other CPUs; the rest belongs to whoever runs on this one. */
export const CpuWord = {
  /** Waitable: see tlbi.ts. */
  answer: 0,
  /** Waitable: see interrupts.ts. */
  interrupts: 8,
  /** Interrupts sent to this CPU. */
  requests: 16,
  /** TLBI commands performed. */
  performed: 24,
  /** 1 once a leaf above level 3 was cached: else a lookup need not try the other sizes. */
  blocks: 28,
  /** Grows when walks that have begun may fill nothing any more: see speculation.ts. */
  walkEpoch: 32,
  /** The stage-2 registers as they were loaded last. */
  vtcrLo: 36,
  vtcrHi: 40,
  vttbrLo: 44,
  vttbrHi: 48,
  /** The speculative walk, up to the end of the line: see speculation.ts. */
  speculativeWalk: 64,
} as const;

/** Keeps registers as they are loaded, for whoever walks on behalf of the CPU. */
export function writeRegisters(line: Word, { vtcr, vttbr }: Stage2Registers): void {
  write32(line + CpuWord.vtcrLo, lowHalf(vtcr));
  write32(line + CpuWord.vtcrHi, highHalf(vtcr));
  write32(line + CpuWord.vttbrLo, vttbr.lo);
  write32(line + CpuWord.vttbrHi, vttbr.hi);
}

/** The registers that were loaded last. */
export function readRegisters(line: Word): Stage2Registers {
  const high = read32(line + CpuWord.vtcrHi);
  return {
    vtcr: high * HIGH_WEIGHT + (read32(line + CpuWord.vtcrLo) >>> 0),
    vttbr: { lo: read32(line + CpuWord.vttbrLo), hi: read32(line + CpuWord.vttbrHi) },
  };
}
