import type { Op } from '#port';
import type { Rcu } from '../../locking/rcu.ts';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { Phys } from '../../machine/address.ts';
import { FailingZone, type FailurePoint } from '../../machine/failure-point.ts';
import { NO_FRAME, type ZoneLayout } from '../../machine/frames.ts';

/**
 * Pages of tables that may be freed later: who finds none left waits until those are free that were put off, as an allocator of the kernel that
 * reclaims before it gives up. Without it nothing bounds how many wait for a daemon that does not get to run. So taking a page may sleep.
 */
export class ReclaimingZone extends FailingZone {
  readonly #rcu: Pick<Rcu, 'barrier'>;

  constructor(
    layout: ZoneLayout,
    parts: { readonly lock: SpinLock; readonly rcu: Pick<Rcu, 'barrier'> },
    point: FailurePoint,
  ) {
    super(layout, parts.lock, point);
    this.#rcu = parts.rcu;
  }

  override *zalloc(): Op<Phys> {
    const frame = yield* super.zalloc();
    if (frame !== NO_FRAME || !this.isExhausted) return frame;
    yield* this.#rcu.barrier();
    return yield* super.zalloc();
  }
}
