import { hostReach } from './host-levels.ts';

/** What a host kernel was built for and runs on. */
export interface LegacyHost {
  /** VA_BITS. */
  readonly hostVaBits: number;
  readonly pageShift: number;
  /** ID_AA64MMFR0_EL1.PARange. */
  readonly paBits: number;
  /** Bits of physical address that the kernel supports. */
  readonly kernelPaBits: number;
}

/** Entries of a root: up to 16 pages are concatenated. */
const CONCATENATED_BITS = 4;

/**
 * The most bits of IPA that a VM could have: stage 2 borrowed the depth of the host's own tables (specification section 1.6). Such a table
 * has as many levels as the host's, and its root up to 16 pages.
 */
export function legacyIpaLimit(host: LegacyHost): number {
  const { hostVaBits, pageShift, paBits, kernelPaBits } = host;
  const tableBits = hostReach(pageShift, hostVaBits) + CONCATENATED_BITS;
  return Math.min(paBits, kernelPaBits, tableBits);
}
