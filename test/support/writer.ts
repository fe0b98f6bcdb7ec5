/** A vCPU that writes pages, for tests that compare what it wrote with what user space was told. */
import { Order, store32, type Op } from '#port';
import type { DirtyRing } from '../../src/kvm/dirty-ring.ts';
import { handleGuestAbort } from '../../src/kvm/guest-abort.ts';
import type { Ipa } from '../../src/machine/address.ts';
import { FAULTED } from '../../src/machine/cpu.ts';
import { PAGE, RAM, type Guest } from './lab.ts';

export interface WriteNote {
  readonly what: 'write';
  /** From {@link RAM} on. */
  readonly page: number;
}

/**
 * Writes pages in a row as the thread of a vCPU does, and waits where its ring is full. Each write is noted before the CPU can answer an
 * invalidation.
 */
export function* writePages(
  guest: Guest,
  pages: readonly number[],
  notes: { push(note: WriteNote): unknown },
): Op<void> {
  const { cpu, world, vcpu } = guest;
  for (const page of pages) {
    for (let isDone = false; !isDone;) {
      if (!(yield* vcpu.mayEnter())) yield* (vcpu.ring as DirtyRing).awaitRoom();
      cpu.load(yield* world.vm.registers());
      yield* cpu.enterGuest();
      const at = yield* cpu.access((RAM + page * PAGE) as Ipa, 'write');
      if (at !== FAULTED) {
        yield* store32(at, page, Order.once);
        notes.push({ what: 'write', page });
        isDone = true;
      }
      yield* cpu.leaveGuest();
      if (at !== FAULTED) continue;
      vcpu.fault = cpu.fault;
      yield* handleGuestAbort(world.vm, vcpu);
    }
  }
}
