/**
 * Failures on purpose: a workload makes allocations, copies and preparations fail, so that every error path is walked and must give back
 * what it took.
 */
import { Order, add32, type Op, type Word } from '#port';
import type { Phys } from './address.ts';
import { FrameZone, NO_FRAME, type ZoneLayout } from './frames.ts';
import type { SpinLock } from '../locking/spin-lock.ts';

/** What can be made to fail: a table page; a guest frame, or several together; a place in swap; copying a page; preparing a memslot. */
export const FAILURE_SITES = ['table-page', 'guest-page', 'swap-place', 'copy', 'prepare'] as const;
export type FailureSite = (typeof FAILURE_SITES)[number];

/** Which attempts fail, counted from 1 over all agents: `first`, and every `every`th after it; null is none after it. */
export interface FailurePlan {
  readonly site: FailureSite;
  readonly first: number;
  readonly every: number | null;
}

/** How many of the first `attempts` attempts a plan makes fail. */
export function failuresAmong({ first, every }: FailurePlan, attempts: number): number {
  if (attempts < first) return 0;
  return every === null ? 1 : 1 + Math.floor((attempts - first) / every);
}

/** Where something may fail, as one agent sees it. Without a plan nothing does. */
export class FailurePoint {
  /** Failures that this agent met here. */
  struck = 0;

  // oxlint-disable-next-line require-yield -- those with a plan do.
  *strikes(): Op<boolean> {
    return false;
  }
}

export class PlannedFailures extends FailurePoint {
  readonly #plan: FailurePlan;
  readonly #attempts: Word;

  /** `attempts`: a zeroed word, shared by all agents. */
  constructor(plan: FailurePlan, attempts: Word) {
    super();
    this.#plan = plan;
    this.#attempts = attempts;
  }

  override *strikes(): Op<boolean> {
    const before = yield* add32(this.#attempts, 1, Order.once);
    const isChosen = failuresAmong(this.#plan, before + 1) > failuresAmong(this.#plan, before);
    if (isChosen) this.struck++;
    return isChosen;
  }
}

/** A zone whose allocator fails now and then though it has frames. */
export class FailingZone extends FrameZone {
  readonly #point: FailurePoint;

  constructor(layout: ZoneLayout, lock: SpinLock, point: FailurePoint) {
    super(layout, lock);
    this.#point = point;
  }

  override *zalloc(): Op<Phys> {
    if (yield* this.#point.strikes()) return NO_FRAME;
    return yield* super.zalloc();
  }

  override *zallocContiguous(count: number): Op<Phys> {
    if (yield* this.#point.strikes()) return NO_FRAME;
    return yield* super.zallocContiguous(count);
  }
}
