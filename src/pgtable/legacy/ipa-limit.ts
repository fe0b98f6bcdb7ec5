import type { HostKernel } from '../../machine/features.ts';
import { hostReach } from './host-levels.ts';

/** Entries of a root: up to 16 pages are concatenated. */
const CONCATENATED_BITS = 4;

/**
 * The most bits of IPA that a VM could have: stage 2 borrowed the depth of the host's own tables (specification section 1.6). Such a table
 * has as many levels as the host's, and its root up to 16 pages.
 */
export function legacyIpaLimit(host: HostKernel): number {
  const { hostVaBits, pageShift, paBits, kernelPaBits } = host;
  const tableBits = hostReach(pageShift, hostVaBits) + CONCATENATED_BITS;
  return Math.min(paBits, kernelPaBits, tableBits);
}
