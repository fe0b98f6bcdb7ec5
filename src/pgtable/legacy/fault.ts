import type { Op } from '#port';
import type { Level, Phys } from '../../machine/address.ts';
import { Descriptor } from '../../machine/descriptor.ts';
import { LAST_LEVEL, type Geometry } from '../../machine/geometry.ts';
import type { TableCache } from '../mm-ops.ts';
import type { Outcome } from '../outcome.ts';
import type { Stage2Pgtable } from '../pgtable.ts';
import { Prot } from '../stage2-prot.ts';
import { isExecutable } from './leaf.ts';
import { setHuge } from './set-huge.ts';
import { setPte } from './set-pte.ts';

/** A fault whose host page is pinned, as the last steps of handling it see it. */
export interface LegacyFault {
  /** Need not be aligned to `size`. */
  readonly ipa: number;
  /** Bytes of the mapping: a page, or the size of a block. */
  readonly size: number;
  /** Aligned to `size`. */
  readonly frame: Phys;
  readonly isExec: boolean;
  /** A leaf was there and lacked a permission. */
  readonly isPermission: boolean;
  readonly isWritable: boolean;
  /** Whether the slot logs dirty pages: `size` is a page then. */
  readonly logging: boolean;
  readonly isDevice: boolean;
  /** Memory is executable unasked (CTR_EL0.DIC). */
  readonly dic: boolean;
  readonly cache: TableCache;
}

/**
 * Maps the page or block of a fault. The leaf is built from scratch, so what it keeps of the old one has to be looked up: a permission
 * fault that is no execution takes two walks, and the old leaf is broken before the new one stands, where other vCPUs can fault on it.
 * `invalid` for a size that the table has no leaf of, and for executable device memory.
 */
export function* legacyFault(pgt: Stage2Pgtable, fault: LegacyFault): Op<Outcome> {
  const { geometry } = pgt;
  const { ipa, size, cache, logging } = fault;
  const level = levelOf(geometry, size);
  const prot = yield* protOf(pgt, fault);
  const attributes = pgt.attributes.encode(prot);
  if (level === null || attributes === null) return 'invalid';
  const leaf = Descriptor.leaf(geometry, fault.frame, level, attributes);
  if (level !== LAST_LEVEL) return yield* setHuge(pgt, { ipa, leaf, level, cache });
  return yield* setPte(pgt, { ipa, leaf, cache, logging, isIoremap: false });
}

function* protOf(pgt: Stage2Pgtable, fault: LegacyFault): Op<number> {
  // In this order: the walk is spared where the fault itself says enough.
  const needsExec =
    fault.isExec || (fault.isPermission && (yield* isExecutable(pgt, fault.ipa, fault.size)));
  return (
    Prot.r |
    (fault.isWritable ? Prot.w : 0) |
    (needsExec || (fault.dic && !fault.isDevice) ? Prot.x : 0) |
    (fault.isDevice ? Prot.device : 0)
  );
}

/** The level whose entries map `size` bytes. */
function levelOf(geometry: Geometry, size: number): Level | null {
  const levels = [LAST_LEVEL, 2, 1] as const;
  return levels.find((level) => geometry.sizeOf(level) === size) ?? null;
}
