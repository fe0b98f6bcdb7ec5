/**
 * VMIDs by counting, profiles `legacy` and `5.10`: the next number, until they run out; then every CPU is driven out of its guest, and all
 * TLBs are emptied while none can be in one.
 *
 * Why an entry looks at the generation once more with interrupts off:
 *   1. vCPU 0 finds its VMID current;
 *   2. vCPU 1 begins a generation, interrupts everybody (vCPU 0 is in the host and takes it at once) and empties the TLBs;
 *   3. another VM gets vCPU 0's VMID, and vCPU 0 enters with it: one VMID for two VMs.
 * With interrupts off it either sees the new generation, or 2 waits for it to leave the guest.
 */
import { Order, add32, read32, store32, write32, type Op, type Word } from '#port';
import { interruptAll } from '../../machine/interrupts.ts';
import {
  VmidWord,
  flushAllVmids,
  isCurrent,
  presentGeneration,
  type VmidAllocator,
  type VmidParts,
} from './vmid-allocator.ts';

export class VmidCounter implements VmidAllocator {
  readonly #parts: VmidParts;
  /** VMIDs of a generation. */
  readonly #count: number;

  constructor(parts: VmidParts) {
    this.#parts = parts;
    this.#count = 2 ** parts.vmidBits - 1;
  }

  *update(vmid: Word): Op<void> {
    const { layout, lock } = this.#parts;
    if (yield* isCurrent(layout, vmid)) return;
    yield* lock.lock();
    // Another vCPU of the VM may have been here.
    if (!(yield* isCurrent(layout, vmid))) yield* this.#assignLocked(vmid);
    yield* lock.unlock();
  }

  *mayEnter(vmid: Word): Op<boolean> {
    return yield* isCurrent(this.#parts.layout, vmid);
  }

  // oxlint-disable-next-line require-yield -- the interface allows allocators that do yield.
  *release(): Op<void> {}

  /** The generation is stored last: whoever sees it sees the VMID. Pairs with its load in `isCurrent`. */
  *#assignLocked(vmid: Word): Op<void> {
    const { layout } = this.#parts;
    if (read32(layout.cursor) === this.#count) yield* this.#rollOverLocked();
    const next = read32(layout.cursor) + 1;
    write32(layout.cursor, next);
    yield* store32(vmid + VmidWord.vmid, next, Order.once);
    const generation = yield* presentGeneration(layout);
    yield* store32(vmid + VmidWord.generation, generation, Order.release);
  }

  *#rollOverLocked(): Op<void> {
    const { layout, interconnect } = this.#parts;
    write32(layout.cursor, 0);
    yield* add32(layout.generation, 1, Order.full);
    yield* interruptAll(interconnect);
    yield* flushAllVmids(interconnect);
  }
}
