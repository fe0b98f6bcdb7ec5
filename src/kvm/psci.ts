/** Calls of a guest to its firmware (PSCI), as far as they matter to its memory. */
import type { Op } from '#port';
import type { Vm } from './vm.ts';

/**
 * SYSTEM_OFF: the guest is done with its memory. The exit handler compares the stage-2 table with its twin, if it has one, by one walk of
 * each under `mmu_lock` (specification section 5P). No vCPU runs any more.
 */
export function* systemOff(vm: Vm): Op<void> {
  const { twin, mmuLock } = vm.parts;
  if (twin === null) return;
  yield* mmuLock.lock();
  const pgt = yield* vm.pgt();
  if (pgt !== null) yield* twin.compare(pgt);
  yield* mmuLock.unlock();
}
