/** What a simulated machine is like, and which pages its kernel uses, as plain data: a scenario carries it to every agent. */
import { ARMV8_0, type MachineFeatures } from './features.ts';
import { Geometry } from './geometry.ts';

export interface MachineShape {
  /** log2 of the granule: 12, 14 or 16. Table pages, host pages and frames all have this size. */
  readonly pageShift: number;
  /** Descriptors of FEAT_LPA2: 52-bit addresses with the 4K or 16K granule. */
  readonly lpa2: boolean;
  readonly features: MachineFeatures;
  /** Physical CPUs; absent: one for each vCPU. */
  readonly cpus?: number;
  /** CPUs walk, fill and evict of their own accord. */
  readonly speculates?: boolean;
}

/** A plain Armv8.0 machine with pages of 4 KiB. */
export const PLAIN_4K: MachineShape = { pageShift: 12, lpa2: false, features: ARMV8_0 };

/** Bytes of a page. */
export function pageBytesOf({ pageShift }: MachineShape): number {
  return 2 ** pageShift;
}

/** How tables are made on such a machine. */
export function geometryOf({ pageShift, lpa2 }: MachineShape): Geometry {
  return new Geometry(pageShift, lpa2);
}
