/**
 * Where the entries of an address are, folded to the table's number of levels: pgd (level 0), pud (1), pmd (2), pte (3). A table with
 * fewer levels has no tables above its start level, and the entry one asks for there is the root's own. (The p4d of 2020 was always
 * folded into the pgd.)
 */
import type { Word } from '#port';
import type { Level } from '../../machine/address.ts';
import type { Descriptor } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES } from '../../machine/geometry.ts';
import { childOf, type Pgtable } from '../pgtable.ts';

/** The root's entry of `addr`. Its concatenated pages are one array. Throws beyond the input address space. */
export function rootEntry(pgt: Pgtable, addr: number): Word {
  if (addr >= pgt.iaLimit) throw new Error(`no entry of ${addr.toString(16)} in the table`);
  const index = pgt.geometry.blockNumber(addr, pgt.startLevel);
  return pgt.ops.wordOf(pgt.pgd) + index * DESCRIPTOR_BYTES;
}

/** The entry of `addr` in a table page of `level`. */
export function entryIn(pgt: Pgtable, page: Word, addr: number, level: Level): Word {
  return page + pgt.geometry.indexOf(addr, level) * DESCRIPTOR_BYTES;
}

/** The entries of [`addr`, `end`) in one table of `level`; the first is at `at`. */
export interface Span {
  readonly at: Word;
  readonly level: Level;
  readonly addr: number;
  readonly end: number;
}

/** The root's entries of a range. */
export function rootSpan(pgt: Pgtable, addr: number, size: number): Span {
  return { at: rootEntry(pgt, addr), level: pgt.startLevel, addr, end: addr + size };
}

/** The entries of [`addr`, `end`), all of one entry's, in the table that `entry` of `level` points to. */
export function spanBelow(
  pgt: Pgtable,
  entry: Descriptor,
  { level, addr, end }: Omit<Span, 'at'>,
): Span {
  const below = (level + 1) as Level;
  return { at: entryIn(pgt, childOf(pgt, entry), addr, below), level: below, addr, end };
}

/** Where the entry of `addr` ends, or the span if that comes first. */
export function entryEnd(pgt: Pgtable, addr: number, { level, end }: Span): number {
  const { geometry } = pgt;
  return Math.min(end, geometry.alignDown(addr, level) + geometry.sizeOf(level));
}
