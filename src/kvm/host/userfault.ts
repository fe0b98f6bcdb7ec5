/**
 * Faults that the process resolves by itself (userfaultfd): which areas are registered, and which faults go that way.
 *
 * Deviations from Linux: an area is registered from the beginning, for one of the two modes; memory that may be huge cannot be.
 */
import type { Word } from '#port';
import { HostState, stateOf } from './host-pte.ts';
import type { HostFault } from './host-fault.ts';
import type { Mm } from './mm.ts';
import type { UserfaultQueueLayout } from './userfault-queue.ts';

/** `missing`: nothing is behind the page; `minor`: the shared object has the page, and it is not mapped. */
export type UserfaultMode = 'missing' | 'minor';

/** How an area is registered. */
export interface UserfaultSpec {
  readonly mode: UserfaultMode;
  /** Queues of waiting faults, an agent's by its number; 0: nobody waits, whoever faulted is told and resolves it. */
  readonly queues: number;
  /** Agents that may wait. */
  readonly waiters: number;
}

/** The words of a registered area. */
export interface UserfaultLayout extends UserfaultSpec {
  readonly places: readonly UserfaultQueueLayout[];
  /** Per page: how often it was resolved. Protected by the page-table lock. */
  readonly resolved: Word;
}

/** Whether a fault on an empty entry waits for the process. The page-table lock is held. */
export function isUserfaultLocked(mm: Mm, { area, hva }: HostFault): boolean {
  mm.table.lock.assertHeld();
  if (area.userfault === null) return false;
  const { mode } = area.userfault;
  if (area.kind !== 'shared') return mode === 'missing';
  const held = stateOf(mm.shared.find(mm.shared.pageOf(area, hva)));
  return held === (mode === 'missing' ? HostState.none : HostState.page);
}
