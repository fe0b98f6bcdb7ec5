/** Device registers in guest memory, mapped by the host itself (specification section 5G): those of the interrupt controller, say. */
import type { Op } from '#port';
import type { Phys } from '../machine/address.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import { StackCache, type TablePageCache } from './table-page-cache.ts';
import type { Vm } from './vm.ts';

export interface DeviceRange {
  readonly ipa: number;
  readonly phys: number;
  /** Bytes. Pages are mapped whole: from the page of `ipa` to the page of its last byte. */
  readonly bytes: number;
  readonly isWritable: boolean;
}

/**
 * Maps the range page by page, each under `mmu_lock`, the cache filled in between. Stops at the first failure, and what was mapped stays:
 * `noMemory`; `outOfRange`; `fault`, of `legacy`, where a page is mapped already; `invalid` once the table is gone. What is left in the
 * cache goes back to the allocator.
 */
export function* ioremap(vm: Vm, range: DeviceRange): Op<Outcome> {
  const { pageBytes } = vm.parts.geometry;
  const offset = range.ipa % pageBytes;
  const cache = new StackCache(vm.parts.memory.tables);
  let outcome: Outcome = 'ok';
  for (let at = 0; at < range.bytes + offset && outcome === 'ok'; at += pageBytes) {
    const page = { ...range, ipa: range.ipa - offset + at, phys: (range.phys + at) as Phys };
    outcome = yield* mapPage(vm, page, cache);
  }
  yield* cache.free();
  return outcome;
}

function* mapPage(
  vm: Vm,
  page: Omit<DeviceRange, 'phys'> & { readonly phys: Phys },
  cache: TablePageCache,
): Op<Outcome> {
  const { mmuLock, stage2 } = vm.parts;
  if (!(yield* cache.topUp(vm.memcachePagesMin))) return 'noMemory';
  yield* mmuLock.lock();
  const pgt = yield* vm.pgt();
  const { ipa, phys, isWritable } = page;
  const outcome =
    pgt === null ? 'invalid' : yield* stage2.mapDevice(pgt, { ipa, phys, isWritable, cache });
  yield* mmuLock.unlock();
  return outcome;
}
