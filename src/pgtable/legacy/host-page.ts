/** Single pages that the host puts into a table by itself: another page in place of one, registers of a device. */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import { Descriptor } from '../../machine/descriptor.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { Prot } from '../stage2-prot.ts';
import { setPte } from './set-pte.ts';

/** Stores another page, read-only, if the tables for it exist: break, then make. No block is in the way. */
export function* legacyChangePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void> {
  const leaf = pageLeaf(pgt, frame, Prot.r);
  yield* setPte(pgt, { ipa, leaf, cache: null, logging: false, isIoremap: false });
}

/** Maps a page of device registers. `fault` where a page is mapped already. */
export function* legacyIoremap(
  pgt: Stage2Pgtable,
  page: {
    readonly ipa: number;
    readonly phys: Phys;
    readonly isWritable: boolean;
    readonly cache: TableCache;
  },
): Op<Outcome> {
  const { ipa, cache, isWritable } = page;
  const leaf = pageLeaf(pgt, page.phys, Prot.device | Prot.r | (isWritable ? Prot.w : 0));
  return yield* setPte(pgt, { ipa, leaf, cache, logging: false, isIoremap: true });
}

function pageLeaf(pgt: Stage2Pgtable, phys: Phys, prot: number): Descriptor {
  const attributes = pgt.attributes.encode(prot);
  if (attributes === null) throw new Error(`a page of prot ${prot} cannot be expressed`);
  return Descriptor.leaf(pgt.geometry, pgt.geometry.pageDown(phys) as Phys, LAST_LEVEL, attributes);
}
