/**
 * Other VMs on the machine, each of which starts, takes a VMID for its one entry, and is gone before it touched memory: what makes VMIDs run
 * out. They need a CPU like everybody.
 */
import { Order, store64, type Op, type Word } from '#port';
import type { RunQueue } from '../kvm/run-queue.ts';
import type { VmidAllocator } from '../kvm/vmid/vmid-allocator.ts';
import { runQueueOf, vmidAllocatorOf, type World } from './world.ts';

/** VMs that live in one turn on a CPU. */
const LIVES = 8;

export class ShortLivedVm {
  /** Its VMID word. */
  readonly #vmid: Word;
  readonly #task: number;
  readonly #queue: RunQueue;
  readonly #vmids: VmidAllocator;

  /** That of host agent `index`. */
  constructor(world: World, index: number) {
    const { layout } = world;
    this.#vmid = layout.shortLivedVmids + index * 8;
    this.#task = layout.vcpus + index;
    this.#queue = runQueueOf(world);
    this.#vmids = vmidAllocatorOf(world);
  }

  /** A few, one after the other, while the CPU is theirs. A VMID is not given back: it comes free with the next generation. */
  *live(): Op<void> {
    const cpu = yield* this.#queue.take(this.#task, 0);
    for (let i = 0; i < LIVES; i++) {
      yield* store64(this.#vmid, 0, 0, Order.once);
      yield* this.#vmids.update(this.#vmid, cpu);
      yield* this.#vmids.release(cpu);
    }
    yield* this.#queue.give(cpu);
  }
}
