/**
 * A table as data: every entry that is not empty, decoded, in the order of a walk; runs of alike leaves as one; and the stretches of the
 * input address space with their holes. Formats and files are the caller's.
 */
import type { Op } from '#port';
import type { Level } from '../machine/address.ts';
import type { Geometry } from '../machine/geometry.ts';
import { decodeEntry, type DecodedEntry } from './bit-decoder.ts';
import type { Outcome } from './outcome.ts';
import type { Pgtable } from './pgtable.ts';
import { Visit, walk, type VisitContext, type Visitor } from './walker.ts';

/** An entry with its place. */
export interface DumpEntry extends DecodedEntry {
  /** First input address that it covers. */
  readonly ipa: number;
  readonly level: Level;
  readonly value: bigint;
}

/** Decodes `value` in its place. */
export function dumpEntry(
  place: { readonly ipa: number; readonly level: Level; readonly value: bigint },
  geometry: Geometry,
): DumpEntry {
  const { ipa, level, value } = place;
  return { ipa, level, value, ...decodeEntry(value, level, geometry) };
}

/** All entries of the table that are not empty, depth first, a table before its children. */
export function* dumpTable(pgt: Pgtable): Op<DumpEntry[]> {
  const visitor = new DumpVisitor(pgt.geometry);
  const outcome = yield* walk(pgt, 0, pgt.iaLimit, visitor);
  if (outcome !== 'ok') throw new Error(`dumpTable: ${outcome}`);
  return visitor.entries;
}

class DumpVisitor implements Visitor {
  readonly flags = Visit.leaf | Visit.tablePre;
  readonly entries: DumpEntry[] = [];
  readonly #geometry: Geometry;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
  }

  *visit(context: VisitContext): Op<Outcome> {
    const { addr: ipa, level, old } = context;
    const value = old.toBigInt();
    if (value !== 0n) this.entries.push(dumpEntry({ ipa, level, value }, this.#geometry));
    return 'ok';
  }
}

/** Entries side by side that say the same. */
export interface DumpRange {
  readonly first: DumpEntry;
  readonly count: number;
}

/**
 * Joins neighbours of one level: leaves with equal attributes and contiguous output addresses, invalid entries of one kind. Tables
 * stay alone.
 */
export function mergeRanges(entries: readonly DumpEntry[], geometry: Geometry): DumpRange[] {
  const ranges: { first: DumpEntry; count: number }[] = [];
  for (const entry of entries) {
    const last = ranges.at(-1);
    if (last !== undefined && continues(last, entry, geometry)) last.count++;
    else ranges.push({ first: entry, count: 1 });
  }
  return ranges;
}

function continues({ first, count }: DumpRange, next: DumpEntry, geometry: Geometry): boolean {
  const bytes = count * geometry.sizeOf(first.level);
  return (
    next.kind !== 'table' &&
    next.kind === first.kind &&
    next.level === first.level &&
    next.ipa === first.ipa + bytes &&
    (next.kind === 'invalid' || next.oa === first.oa + bytes) &&
    JSON.stringify(next.attributes) === JSON.stringify(first.attributes)
  );
}

/** A stretch of input addresses: a leaf, an invalid entry, or a hole (null) of empty entries of one level. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly level: Level;
  readonly entry: DumpEntry | null;
}

/** What bounds a table: its shape, and where its root stands among the levels. */
export interface TableShape {
  readonly geometry: Geometry;
  readonly startLevel: Level;
  /** 2^ipaBits. */
  readonly iaLimit: number;
}

/** Lays entries, given depth first, over the input address space. */
export class SpanMap {
  readonly #shape: TableShape;
  readonly #spans: Span[] = [];
  /** The tables around the next entry, the root first: where each ends, and the level of its entries. */
  readonly #open: { readonly end: number; readonly level: number }[];
  /** Everything below is laid out. */
  #cursor = 0;

  constructor(shape: TableShape) {
    this.#shape = shape;
    this.#open = [{ end: shape.iaLimit, level: shape.startLevel }];
  }

  /** Adds an entry. Null, or what is wrong with its place; then nothing of the map may be used. */
  place(entry: DumpEntry): string | null {
    const { ipa, level, kind } = entry;
    const bytes = this.#shape.geometry.sizeOf(level);
    if (ipa % bytes !== 0) return `not a multiple of what an entry of level ${level} covers`;
    if (ipa >= this.#shape.iaLimit) return 'beyond the input address space';
    if (ipa < this.#cursor) return 'inside another entry';
    while (this.#top.end <= ipa) this.#close();
    if (level !== this.#top.level)
      return `an entry of level ${level} in a table of level ${this.#top.level}`;
    this.#hole(ipa);
    const end = Math.min(ipa + bytes, this.#top.end);
    if (kind === 'table') this.#open.push({ end, level: level + 1 });
    else this.#add(end, entry);
    return null;
  }

  /** All spans, in order, up to the end of the input address space. */
  end(): readonly Span[] {
    while (this.#open.length > 0) this.#close();
    return this.#spans;
  }

  get #top(): { readonly end: number; readonly level: number } {
    return this.#open.at(-1) as { end: number; level: number };
  }

  #close(): void {
    this.#hole(this.#top.end);
    this.#open.pop();
  }

  #hole(end: number): void {
    if (end > this.#cursor) this.#add(end, null);
  }

  #add(end: number, entry: DumpEntry | null): void {
    const level = this.#top.level as Level;
    this.#spans.push({ start: this.#cursor, end, level, entry });
    this.#cursor = end;
  }
}
