/** The faulting side of userfaultfd. */
import type { Op } from '#port';
import type { HostFault } from './host-fault.ts';
import { NO_PTE } from './host-pte.ts';
import type { Mm } from './mm.ts';
import { isUserfaultLocked } from './userfault.ts';
import type { UserfaultQueue } from './userfault-queue.ts';

/**
 * Queues a fault, and gives what to wait with once the mmap lock is dropped; null: the page was resolved meanwhile, there is nothing to wait
 * for. The page is looked at after the fault was queued: see userfault-queue.ts.
 */
export function* queueUserfault(
  mm: Mm,
  queue: UserfaultQueue,
  fault: HostFault,
): Op<number | null> {
  const { hva, isWrite } = fault;
  const seen = yield* queue.enqueue({ page: mm.pageNumber(hva), isWrite });
  if (yield* isMissed(mm, fault)) return seen;
  yield* queue.withdraw(seen);
  return null;
}

function* isMissed(mm: Mm, fault: HostFault): Op<boolean> {
  const { table } = mm;
  yield* table.lock.lock();
  const isUserfault = table.find(fault.hva).pte === NO_PTE && isUserfaultLocked(mm, fault);
  yield* table.lock.unlock();
  return isUserfault;
}
