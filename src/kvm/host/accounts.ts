/** Which frames the host has, and with how many references: for checks while nothing runs. */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { HostState, numberOf, stateOf } from './host-pte.ts';
import type { Mm } from './mm.ts';
import { OWNER_POISONED } from './pages.ts';
import { swapPlace } from './swap-in.ts';

export interface HostAccounts {
  /** References per frame of the guest zone: those of entries, of the shared object, of zero pages and of broken frames. */
  readonly frames: ReadonlyMap<Phys, number>;
  /** The same of places in the swap zone. */
  readonly swap: ReadonlyMap<Phys, number>;
}

/** Counts what the host holds. Whatever else a frame has, somebody else took: a pin. */
export function* hostAccounts(mm: Mm): Op<HostAccounts> {
  const frames = new Map<Phys, number>();
  const swap = new Map<Phys, number>();
  for (const area of mm.vmas.areas) countEntries(mm, area.hva, area.bytes, { frames, swap });
  for (let page = 0; page < mm.shared.pages; page++) {
    const pte = mm.shared.find(page);
    if (stateOf(pte) === HostState.page) add(frames, mm.pages.frameOf(numberOf(pte)));
  }
  for (const { first, frames: length } of yield* mm.zero.existing())
    for (let i = 0; i < length; i++) add(frames, mm.pages.next(first, i));
  for (let i = 0; i < mm.pages.frames.accounts().used; i++) {
    const frame = mm.pages.frameOf(i);
    if ((yield* mm.pages.frames.owner(frame)) === OWNER_POISONED) add(frames, frame);
  }
  return { frames, swap };
}

function countEntries(
  mm: Mm,
  first: Hva,
  bytes: number,
  into: { readonly frames: Map<Phys, number>; readonly swap: Map<Phys, number> },
): void {
  const { table, pages, geometry } = mm;
  for (let from: number = first; from < first + bytes;) {
    const entry = table.find(from as Hva);
    const { bytes: size } = table.rangeOf(entry);
    if (stateOf(entry.pte) === HostState.swapped) add(into.swap, swapPlace(mm, entry));
    if (stateOf(entry.pte) === HostState.page) {
      const frame = pages.frameOf(numberOf(entry.pte));
      for (let i = 0; i < size / geometry.pageBytes; i++) add(into.frames, pages.next(frame, i));
    }
    from = entry.hva + size;
  }
}

function add(counts: Map<Phys, number>, frame: Phys): void {
  counts.set(frame, (counts.get(frame) ?? 0) + 1);
}
