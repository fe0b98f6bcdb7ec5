/**
 * The leaves of a table whose host moves pages while the guest runs: which pages are mapped is chance, but what is mapped must be the host's
 * page (invariant 10), writable only where the host lets it be, and marked dirty where the slot logs (invariants 12 and 52).
 */
import type { Gfn } from '../../machine/address.ts';
import type { Memslot } from '../../kvm/memslots.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { dirtyRingsOf } from '../../workers/dirty-rings.ts';
import type { Layout } from '../../workers/layout.ts';
import type { World } from '../../workers/world.ts';
import type { ScannedLeaf, TableScan } from './scan.ts';
import type { Finding } from './verify.ts';

export function* mappedPages(world: World, pgt: Stage2Pgtable, scan: TableScan): Iterable<Finding> {
  const { geometry } = pgt;
  for (const [ipa, leaf] of scan.leaves) {
    const bytes = geometry.sizeOf(leaf.level);
    for (let inside = 0; inside < bytes; inside += geometry.pageBytes) {
      const wrong = wrongPage(world, pgt, ipa + inside, leaf, inside);
      if (wrong === null) continue;
      const place = `IPA 0x${(ipa + inside).toString(16)} level ${leaf.level}`;
      yield { verdict: wrong.verdict, message: `${place}: ${wrong.message}` };
    }
  }
}

/** One page of a leaf; `inside`: bytes from the leaf's first address. */
function wrongPage(
  { vm, layout }: World,
  pgt: Stage2Pgtable,
  ipa: number,
  { entry }: ScannedLeaf,
  inside: number,
): Finding | null {
  const gfn = (ipa / pgt.geometry.pageBytes) as Gfn;
  const { memslots, host } = vm.parts;
  const slot = memslots.slots.find((candidate) => candidate.contains(gfn));
  if (slot === undefined) return { verdict: 'stray-leaf', message: 'mapped outside every slot' };
  const hva = slot.hvaOf(gfn);
  const mapped = entry.address(pgt.geometry) + inside;
  const frame = host.lookup(hva);
  if (mapped !== frame) {
    const is = frame.toString(16);
    return {
      verdict: 'stale-leaf',
      message: `maps 0x${mapped.toString(16)}, the host has 0x${is}`,
    };
  }
  if (!entry.isWritable()) return null;
  return wrongWrite(layout, vm.parts.host.isWritable(hva), slot, gfn);
}

/** Whether the page's bit stands in the bitmap, or an entry for it in some dirty ring. */
function isRecorded(layout: Layout, slot: Memslot, gfn: Gfn): boolean {
  const page = gfn - slot.baseGfn;
  return (
    slot.isDirty(page) ||
    dirtyRingsOf(layout).some((ring) =>
      ring.pending().some((entry) => entry.slot === slot.id && entry.offset === page),
    )
  );
}

function wrongWrite(
  layout: Layout,
  isHostWritable: boolean,
  slot: Memslot,
  gfn: Gfn,
): Finding | null {
  if (!isHostWritable || slot.isReadonly)
    return { verdict: 'write-not-allowed', message: 'W stands where the host allows no write' };
  if (slot.isLogging() && !isRecorded(layout, slot, gfn))
    return {
      verdict: 'dirty-lost',
      message: 'W stands in a slot that logs, and the page is not dirty',
    };
  return null;
}
