/** One fault of the host on the way to an entry: what every kind of memory needs of it. */
import { Order, load32, wait, type Op } from '#port';
import type { Hva, Level } from '../../machine/address.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { HostFlag, NO_PTE, type HostPte } from './host-pte.ts';
import type { Mm } from './mm.ts';
import type { VmArea } from './vma.ts';

/** An access that the area permits. */
export interface HostFault {
  readonly area: VmArea;
  /** Of the page. */
  readonly hva: Hva;
  readonly isWrite: boolean;
}

/** `ok`: look again; else why there is no page: see `PinStatus`. */
export type FaultOutcome = 'ok' | 'noMemory' | 'fault' | 'poisoned' | 'userfault';

/** Flags of an entry that an access brings about. */
export function flagsFor({ area, isWrite }: HostFault, isWritableByRead: boolean): number {
  if (isWrite) return HostFlag.writable | HostFlag.dirty | HostFlag.young;
  return isWritableByRead && area.isWritable ? HostFlag.writable | HostFlag.young : HostFlag.young;
}

/** Installs an entry where there is none. False: another agent was faster. */
export function* installIfEmpty(mm: Mm, hva: Hva, level: Level, pte: HostPte): Op<boolean> {
  const { table } = mm;
  yield* table.lock.lock();
  const isEmpty =
    level === LAST_LEVEL ? table.find(hva).pte === NO_PTE : table.isEmptyBlockLocked(hva);
  if (isEmpty) yield* table.setLocked(hva, level, pte);
  yield* table.lock.unlock();
  return isEmpty;
}

/** Drops the page-table lock and waits until some move is over. The count is read before: a move ends after its entry has changed. */
export function* awaitMoveLocked(mm: Mm): Op<'ok'> {
  const seen = yield* load32(mm.moves, Order.acquire);
  yield* mm.table.lock.unlock();
  yield* wait(mm.moves, seen);
  return 'ok';
}
