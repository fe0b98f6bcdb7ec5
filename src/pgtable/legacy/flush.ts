import type { Op } from '#port';
import { loadDescriptor } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES } from '../../machine/geometry.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { entryEnd, rootSpan, spanBelow, type Span } from './offsets.ts';

/** Cleans and invalidates the whole memory of each cacheable leaf that [`ipa`, `ipa + size`) touches. Nothing, but walked, with FWB. */
export function* legacyFlush(pgt: Stage2Pgtable, ipa: number, size: number): Op<void> {
  pgt.ops.walkBegin();
  yield* flushEntries(pgt, rootSpan(pgt, ipa, size));
  pgt.ops.walkEnd();
}

function* flushEntries(pgt: Stage2Pgtable, span: Span): Op<void> {
  const { ops, geometry, attributes } = pgt;
  const { level, end } = span;
  let { at, addr } = span;
  while (addr < end) {
    const next = entryEnd(pgt, addr, span);
    const value = yield* loadDescriptor(at);
    if (value.isTable(level))
      yield* flushEntries(pgt, spanBelow(pgt, value, { level, addr, end: next }));
    else if (value.isValid() && attributes.needsCleaning(value))
      yield* ops.dcacheCleanInvalidate(value.address(geometry), geometry.sizeOf(level));
    at += DESCRIPTOR_BYTES;
    addr = next;
  }
}
