import type { Op, Word } from '#port';
import type { Level } from '../../machine/address.ts';
import { loadDescriptor, type Descriptor } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES } from '../../machine/geometry.ts';
import { UNKNOWN_LEVEL } from '../mm-ops.ts';
import { childOf, NO_PGD, type Stage2Pgtable } from '../pgtable.ts';
import { clearEntry } from './entry.ts';
import { entryEnd, rootSpan, spanBelow, type Span } from './offsets.ts';

/** A valid entry on the way, and the address that it was reached by. */
interface Visited {
  readonly at: Word;
  readonly level: Level;
  readonly addr: number;
  readonly value: Descriptor;
}

/**
 * Empties every leaf that [`ipa`, `ipa + size`) touches, a partly covered block as a whole, and frees the tables that become empty: a TLBI
 * for each. The memory of cacheable leaves is cleaned to the point of coherency. `ipa` and `size` are whole pages, `size` is not 0.
 */
export function* legacyUnmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<void> {
  pgt.ops.walkBegin();
  yield* unmapEntries(pgt, rootSpan(pgt, ipa, size));
  pgt.ops.walkEnd();
}

/** Unmaps the whole table, then frees its root. The lock is held for the first half: hardware and others may still use the table. */
export function* legacyDestroy(pgt: Stage2Pgtable): Op<void> {
  if (pgt.pgd === NO_PGD) return;
  yield* legacyUnmap(pgt, 0, pgt.iaLimit);
  yield* legacyFreePgd(pgt);
}

/** Frees the root of an empty table: what teardown does once nobody finds it. */
export function* legacyFreePgd(pgt: Stage2Pgtable): Op<void> {
  yield* pgt.ops.freePagesExact(pgt.pgd, pgt.pgdPages);
}

function* unmapEntries(pgt: Stage2Pgtable, span: Span): Op<void> {
  const { level, end } = span;
  let { at, addr } = span;
  while (addr < end) {
    const next = entryEnd(pgt, addr, span);
    const value = yield* loadDescriptor(at);
    if (value.isTable(level)) {
      yield* unmapEntries(pgt, spanBelow(pgt, value, { level, addr, end: next }));
      yield* freeIfEmpty(pgt, { at, level, addr, value });
    } else if (value.isValid()) yield* unmapLeaf(pgt, { at, level, addr, value });
    at += DESCRIPTOR_BYTES;
    addr = next;
  }
}

function* unmapLeaf(pgt: Stage2Pgtable, { at, level, addr, value }: Visited): Op<void> {
  const { ops, geometry, attributes } = pgt;
  yield* clearEntry(pgt, at, addr, level);
  if (attributes.needsCleaning(value))
    yield* ops.dcacheCleanInvalidate(value.address(geometry), geometry.sizeOf(level));
  yield* ops.putPage(at);
}

function* freeIfEmpty(pgt: Stage2Pgtable, { at, addr, value }: Visited): Op<void> {
  const { ops } = pgt;
  const page = childOf(pgt, value);
  if ((yield* ops.pageCount(page)) !== 1) return;
  // Walk caches hold tables: no hint may narrow the removal of one.
  yield* clearEntry(pgt, at, addr, UNKNOWN_LEVEL);
  yield* ops.putPage(page);
  yield* ops.putPage(at);
}
