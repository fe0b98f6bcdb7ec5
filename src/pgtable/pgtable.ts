import type { Word } from '#port';
import type { Level, Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import type { Geometry } from '../machine/geometry.ts';
import type { MmOps, TableMemory } from './mm-ops.ts';
import type { Stage2Attributes } from './stage2-prot.ts';

/** No table. */
export const NO_PGD: Phys = 0 as Phys;

/** What it takes to follow entries and to free tables. */
export interface Tables {
  readonly geometry: Geometry;
  readonly ops: TableMemory;
}

/** A translation table: an immutable handle, equal for every agent but for its ops. */
export interface Pgtable extends Tables {
  readonly ops: MmOps;
  readonly iaBits: number;
  /** 2^iaBits: the first input address that is out of range. */
  readonly iaLimit: number;
  readonly startLevel: Level;
  /** The first of `pgdPages` concatenated root pages, or {@link NO_PGD}. */
  readonly pgd: Phys;
  readonly pgdPages: number;
}

/** A stage-2 table: its leaves are encoded as the machine has them. */
export interface Stage2Pgtable extends Pgtable {
  readonly attributes: Stage2Attributes;
}

/** The table page that a table entry points to. */
export function childOf(tables: Tables, entry: Descriptor): Word {
  return tables.ops.wordOf(entry.address(tables.geometry));
}
