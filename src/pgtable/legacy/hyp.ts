/**
 * The hypervisor's stage-1 tables as the rewrite found them (specification section 3.5, last paragraph): pages only, and an entry is
 * stored whatever stands there. Blindly also means that mapping a page again takes one more reference, which no unmap drops.
 */
import type { Op } from '#port';
import type { Level, Phys } from '../../machine/address.ts';
import { Descriptor, EMPTY, loadDescriptor } from '../../machine/descriptor.ts';
import { DESCRIPTOR_BYTES, LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import { hypAttributes } from '../hyp-prot.ts';
import type { HypMapRequest } from '../hyp.ts';
import type { MmOps } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import { childOf, NO_PGD, type Pgtable } from '../pgtable.ts';
import { Descent, NO_ENTRY } from './descent.ts';
import { setEntry } from './entry.ts';
import { hostLevels } from './host-levels.ts';
import { entryEnd, rootSpan, spanBelow, type Span } from './offsets.ts';

/** Why nothing, or not everything, was mapped. */
export type HypRefusal = Extract<Outcome, 'invalid' | 'noMemory'>;

/** An empty table as deep as a host's of `vaBits` bits; `noMemory` without a root page. */
export function* legacyHypTable(
  geometry: Geometry,
  vaBits: number,
  ops: MmOps,
): Op<Pgtable | 'noMemory'> {
  const pgd = yield* ops.zallocPagesExact(1);
  if (pgd === NO_PGD) return 'noMemory';
  const startLevel = (4 - hostLevels(geometry.pageShift, vaBits)) as Level;
  const iaLimit = 2 ** vaBits;
  return { geometry, iaBits: vaBits, iaLimit, startLevel, pgd, pgdPages: 1, ops };
}

/**
 * Maps a range page by page, over whatever was there. `invalid` for a protection that is refused, `noMemory` when a table could not be
 * allocated: earlier pages then stay.
 */
export function* legacyHypMap(pgt: Pgtable, request: HypMapRequest): Op<'ok' | HypRefusal> {
  const attributes = hypAttributes(request.prot, pgt.geometry);
  if (attributes === null) return 'invalid';
  const { geometry, ops } = pgt;
  const start = geometry.pageDown(request.va);
  const end = request.va + request.size;
  const first = geometry.pageDown(request.phys);
  for (let va = start; va < end; va += geometry.pageBytes) {
    ops.walkBegin();
    const at = yield* new Descent(pgt, va, { cache: request.pages, logging: false }).pte();
    ops.walkEnd();
    if (at === NO_ENTRY) return 'noMemory';
    const phys = (first + (va - start)) as Phys;
    yield* setEntry(pgt, at, Descriptor.leaf(geometry, phys, LAST_LEVEL, attributes));
    yield* ops.getPage(at);
  }
  return 'ok';
}

/** Empties a table and frees it. No TLBI. A table page with references left over stays behind. */
export function* legacyHypFree(pgt: Pgtable): Op<void> {
  pgt.ops.walkBegin();
  yield* emptyEntries(pgt, rootSpan(pgt, 0, pgt.iaLimit));
  pgt.ops.walkEnd();
  yield* pgt.ops.freePagesExact(pgt.pgd, 1);
}

function* emptyEntries(pgt: Pgtable, span: Span): Op<void> {
  const { ops } = pgt;
  const { level, end } = span;
  let { at, addr } = span;
  while (addr < end) {
    const next = entryEnd(pgt, addr, span);
    const value = yield* loadDescriptor(at);
    if (value.isTable(level))
      yield* emptyEntries(pgt, spanBelow(pgt, value, { level, addr, end: next }));
    if (value.isValid()) {
      yield* setEntry(pgt, at, EMPTY);
      yield* ops.putPage(at);
      if (value.isTable(level)) yield* ops.putPage(childOf(pgt, value));
    }
    at += DESCRIPTOR_BYTES;
    addr = next;
  }
}
