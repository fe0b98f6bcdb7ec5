import type { Word } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { Geometry } from '../machine/geometry.ts';
import type { MmOps } from './mm-ops.ts';
import type { Stage2Attributes } from './stage2-prot.ts';

/** No table. */
export const NO_PGD: Phys = 0 as Phys;

/** A translation table: an immutable handle, equal for every agent but for its ops. */
export interface Pgtable {
  readonly geometry: Geometry;
  readonly iaBits: number;
  /** 2^iaBits: the first input address that is out of range. */
  readonly iaLimit: number;
  readonly startLevel: Level;
  /** The first of `pgdPages` concatenated root pages, or {@link NO_PGD}. */
  readonly pgd: Phys;
  readonly pgdPages: number;
  readonly ops: MmOps;
}

/** A stage-2 table: its leaves are encoded as the machine has them. */
export interface Stage2Pgtable extends Pgtable {
  readonly attributes: Stage2Attributes;
}

/** The table page that a table entry points to. */
export function childOf(pgt: Pgtable, entry: Descriptor): Word {
  return pgt.ops.wordOf(entry.address(pgt.geometry));
}
