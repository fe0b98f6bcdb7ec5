/** The notifier's handlers of 5.18 to 6.9 (specification section 5I), and of 6.10 on, where change_pte is gone. */
import type { Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import type { HvaRange } from '../host/mmu-notifier.ts';
import { KvmNotifier, type Meeting } from '../kvm-notifier.ts';

export class KvmNotifier518 extends KvmNotifier {
  /** The lock is for those who meet a slot: others have nothing to do, or to count. */
  protected override *enter(range: HvaRange): Op<readonly Meeting[] | null> {
    const { memslots, mmuLock } = this.vm.parts;
    const met = yield* this.meetings(range);
    if (met.length === 0) {
      yield* memslots.readUnlock();
      return null;
    }
    yield* mmuLock.lock();
    return met;
  }

  /** Inside an invalidation, which counts; outside of one there is nothing mapped that could be changed. */
  override *changePte(hva: Hva, frame: Phys): Op<void> {
    const { notifier, geometry } = this.vm.parts;
    if (!(yield* notifier.isOpen())) return;
    const met = yield* this.enter({ hva, bytes: geometry.pageBytes });
    if (met === null) return;
    yield* this.replaceLocked(met, frame);
    yield* this.leave();
  }
}

/** The page was unmapped when the invalidation began, and faults back. */
export class KvmNotifier612 extends KvmNotifier518 {
  override *changePte(): Op<void> {}
}
