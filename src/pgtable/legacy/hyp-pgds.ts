/**
 * The roots of the hypervisor's stage 1 (specification sections 3.1, 3.5). The runtime table is as deep as the kernel's own. Where the
 * identity-mapped page lies so high that one more level is needed, there are three: that page is mapped in a boot table as deep as the
 * runtime one, and a merged root one level above points to both.
 */
import type { Op } from '#port';
import type { Phys } from '../../machine/address.ts';
import { Descriptor } from '../../machine/descriptor.ts';
import type { Geometry } from '../../machine/geometry.ts';
import { HYP_PROT } from '../hyp-prot.ts';
import type { MmOps, TableCache } from '../mm-ops.ts';
import type { Pgtable } from '../pgtable.ts';
import { setEntry } from './entry.ts';
import { hostLevels, hostReach } from './host-levels.ts';
import { legacyHypFree, legacyHypMap, legacyHypTable, type HypRefusal } from './hyp.ts';
import { rootEntry } from './offsets.ts';

/** The machine and kernel that the tables are for. */
export interface LegacyHypOptions {
  readonly geometry: Geometry;
  /** VA_BITS of the kernel. */
  readonly kernelVaBits: number;
  /** The page that is mapped to itself. */
  readonly idmap: Phys;
  readonly ops: MmOps;
  readonly pages: TableCache;
}

/** The tables; the last two only in the extended case. */
export interface LegacyHypPgds {
  readonly runtime: Pgtable;
  readonly boot: Pgtable | null;
  readonly merged: Pgtable | null;
}

/** Deepest table there is: levels 0 to 3. */
const LEVELS_MAX = 4;

/**
 * The tables with the identity-mapped page, executable. `invalid` when the page is out of reach of one more level. What was allocated
 * before memory ran out stays, as at a boot that fails.
 */
export function* legacyHypInit(options: LegacyHypOptions): Op<LegacyHypPgds | HypRefusal> {
  const { geometry, kernelVaBits, ops } = options;
  const vaBits = bitsOf(options);
  const levels = hostLevels(geometry.pageShift, vaBits);
  const runtimeLevels = hostLevels(geometry.pageShift, kernelVaBits);
  if (levels > Math.min(runtimeLevels + 1, LEVELS_MAX)) return 'invalid';
  const isExtended = levels > runtimeLevels;
  // Without one more level the root has room for the page.
  const runtime = yield* legacyHypTable(geometry, isExtended ? kernelVaBits : vaBits, ops);
  if (runtime === 'noMemory') return runtime;
  if (isExtended) return yield* extend(runtime, options);
  const outcome = yield* mapIdmap(runtime, options);
  return outcome === 'ok' ? { runtime, boot: null, merged: null } : outcome;
}

/** Entry 0 of the merged root is the runtime table; that of the page is the boot table, which sees the rest of its address. */
function* extend(runtime: Pgtable, options: LegacyHypOptions): Op<LegacyHypPgds | HypRefusal> {
  const { geometry, idmap, ops } = options;
  // As much as one entry of the merged root leaves to it.
  const reach = hostReach(geometry.pageShift, runtime.iaBits);
  const boot = yield* legacyHypTable(geometry, reach, ops);
  if (boot === 'noMemory') return boot;
  const outcome = yield* mapIdmap(boot, options);
  if (outcome !== 'ok') return outcome;
  const merged = yield* legacyHypTable(geometry, bitsOf(options), ops);
  if (merged === 'noMemory') return merged;
  yield* setEntry(merged, rootEntry(merged, 0), Descriptor.table(geometry, runtime.pgd));
  yield* setEntry(merged, rootEntry(merged, idmap), Descriptor.table(geometry, boot.pgd));
  return { runtime, boot, merged };
}

function* mapIdmap(
  pgt: Pgtable,
  { geometry, idmap, pages }: LegacyHypOptions,
): Op<'ok' | HypRefusal> {
  const va = idmap % pgt.iaLimit;
  const request = { va, size: geometry.pageBytes, phys: idmap, prot: HYP_PROT.exec, pages };
  return yield* legacyHypMap(pgt, request);
}

/** The root that TTBR0_EL2 gets. */
export function httbr({ runtime, merged }: LegacyHypPgds): Phys {
  return (merged ?? runtime).pgd;
}

/** Frees all tables: the merged root's entries are no references. */
export function* legacyHypDestroy({ runtime, boot, merged }: LegacyHypPgds): Op<void> {
  if (merged !== null) yield* merged.ops.freePagesExact(merged.pgd, 1);
  if (boot !== null) yield* legacyHypFree(boot);
  yield* legacyHypFree(runtime);
}

/** Bits of a virtual address that reach the identity-mapped page: at least the kernel's. */
function bitsOf({ idmap, kernelVaBits }: LegacyHypOptions): number {
  let bits = kernelVaBits;
  while (2 ** bits <= idmap) bits++;
  return bits;
}
