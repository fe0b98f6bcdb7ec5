import type { Op } from '#port';
import { Attributes, loadDescriptor, NO_ATTRIBUTES, S2_LO } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES } from '../../machine/geometry.ts';
import type { Pgtable } from '../pgtable.ts';
import { setEntry } from './entry.ts';
import { entryEnd, rootSpan, spanBelow, type Span } from './offsets.ts';

const WRITE: Attributes = new Attributes(S2_LO.S2AP_W, 0);

/** Takes W from every leaf that [`ipa`, `ipa + size`) touches. **The caller must flush the TLB** before it relies on the result. */
export function* legacyWrprotect(pgt: Pgtable, ipa: number, size: number): Op<void> {
  pgt.ops.walkBegin();
  yield* protectEntries(pgt, rootSpan(pgt, ipa, size));
  pgt.ops.walkEnd();
}

function* protectEntries(pgt: Pgtable, span: Span): Op<void> {
  const { level, end } = span;
  let { at, addr } = span;
  while (addr < end) {
    const next = entryEnd(pgt, addr, span);
    const value = yield* loadDescriptor(at);
    if (value.isTable(level))
      yield* protectEntries(pgt, spanBelow(pgt, value, { level, addr, end: next }));
    else if (value.isValid() && value.isWritable())
      yield* setEntry(pgt, at, value.withAttributes(NO_ATTRIBUTES, WRITE));
    at += DESCRIPTOR_BYTES;
    addr = next;
  }
}
