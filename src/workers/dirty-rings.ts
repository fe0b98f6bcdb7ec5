/** User space as the reader of dirty rings: an agent that collects and resets them, and vCPUs that wait for it. */
import { Order, add32, count, type Op } from '#port';
import { DirtyRing } from '../kvm/dirty-ring.ts';
import { resetDirtyRings } from '../kvm/dirty-ring-reset.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Layout } from './layout.ts';
import { STATISTICS } from './statistics.ts';
import type { World } from './world.ts';

/** The rings of all vCPUs, or none where bitmaps record what they write. */
export function dirtyRingsOf({ dirtyRings }: Layout): DirtyRing[] {
  return dirtyRings.map((ring) => new DirtyRing(ring));
}

/** One pass over all rings; one agent at a time. A reset frees exactly what was harvested. */
export function* collectRings({ vm, layout }: World): Op<void> {
  const rings = dirtyRingsOf(layout);
  let collected = 0;
  for (const ring of rings) collected += (yield* ring.collect()).length;
  // Their pages fault again.
  yield* add32(layout.words.mappingsTaken, collected, Order.full);
  const reset = yield* resetDirtyRings(vm, rings);
  if (reset !== collected) throw new Error(`${collected} entries collected, ${reset} reset`);
}

/** Before each entry of the guest. A vCPU that may not enter goes to user space, which waits for the agent that collects. */
export function* passDirtyRing(vcpu: Vcpu): Op<void> {
  const { ring } = vcpu;
  if (ring === null || (yield* vcpu.mayEnter())) return;
  count(STATISTICS.exits, 1);
  vcpu.exit = null;
  yield* ring.awaitRoom();
}
