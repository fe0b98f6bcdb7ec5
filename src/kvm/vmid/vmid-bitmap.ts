/**
 * VMIDs by bitmap, from 5.16 on: a new generation leaves the VMIDs that run at that moment to their VMs, so no guest has to be stopped. Each
 * CPU says which VMID is active on it; a rollover takes those away and keeps them reserved until their VMs come for them.
 *
 * Values are 64 bits: VMID and generation. Zero in `active` means that a rollover took it.
 *
 * Why an entry publishes its VMID by compare-and-swap, without the lock:
 *   1. vCPU 0 finds its VMID current;
 *   2. vCPU 1 rolls over: it finds CPU 0 idle, reserves nothing for it and takes its word away;
 *   3. vCPU 0 would enter with a VMID that is another's by now. Its compare-and-swap fails, and it goes for the lock.
 */
import {
  Order,
  add32,
  cas64,
  high,
  load64,
  read32,
  store64,
  write32,
  type Op,
  type Word,
} from '#port';
import {
  CPU_VMID_BYTES,
  flushAllVmids,
  isCurrent,
  presentGeneration,
  vmidMapBytes,
  type VmidAllocator,
  type VmidParts,
} from './vmid-allocator.ts';

/** Offset of a CPU's reserved value; the active one stands first. */
const RESERVED = 8;
/** Active on a CPU that no vCPU runs on: no VM's, and not taken away. Generation 0 never is. */
const IDLE_LO = 1;
const IDLE_HI = 0;

export class VmidBitmap implements VmidAllocator {
  readonly #parts: VmidParts;
  /** All VMIDs, the host's included. */
  readonly #count: number;

  constructor(parts: VmidParts) {
    this.#parts = parts;
    this.#count = 2 ** parts.vmidBits;
  }

  *update(vmid: Word, cpu: number): Op<void> {
    if (yield* this.#publish(vmid, cpu)) return;
    const { layout, lock } = this.#parts;
    yield* lock.lock();
    if (!(yield* isCurrent(layout, vmid))) yield* this.#assignLocked(vmid);
    const lo = yield* load64(vmid, Order.once);
    yield* store64(this.#active(cpu), lo, high(), Order.release);
    yield* lock.unlock();
  }

  /** A rollover after `update` reserved what runs here. */
  // oxlint-disable-next-line require-yield -- the interface allows allocators that do yield.
  *mayEnter(): Op<boolean> {
    return true;
  }

  *release(cpu: number): Op<void> {
    yield* store64(this.#active(cpu), IDLE_LO, IDLE_HI, Order.release);
  }

  /** Without the lock: whether the VMID is current, and no rollover came between. */
  *#publish(vmid: Word, cpu: number): Op<boolean> {
    const active = this.#active(cpu);
    const activeLo = yield* load64(active, Order.once);
    const activeHi = high();
    if (activeLo === 0) return false;
    const lo = yield* load64(vmid, Order.once);
    const hi = high();
    if (hi !== (yield* presentGeneration(this.#parts.layout))) return false;
    return yield* cas64(active, activeLo, activeHi, lo, hi, Order.full);
  }

  *#assignLocked(vmid: Word): Op<void> {
    const { layout } = this.#parts;
    const lo = yield* load64(vmid, Order.once);
    const hi = high();
    const generation = yield* presentGeneration(layout);
    const isKept = (yield* this.#takeReserved(lo, hi, generation)) || (hi !== 0 && this.#take(lo));
    if (isKept) {
      yield* store64(vmid, lo, generation, Order.release);
      return;
    }
    const fresh = this.#takeNext() || (yield* this.#rollOverLocked());
    yield* store64(vmid, fresh, yield* presentGeneration(layout), Order.release);
  }

  /** Brings what is reserved for a VM to this generation: on every CPU, since its vCPUs may have run on several. Whether any was. */
  *#takeReserved(lo: number, hi: number, generation: number): Op<boolean> {
    let isReserved = false;
    for (let cpu = 0; cpu < this.#cpus; cpu++) {
      const reserved = this.#active(cpu) + RESERVED;
      const reservedLo = yield* load64(reserved, Order.once);
      if (reservedLo !== lo || high() !== hi) continue;
      isReserved = hi !== 0;
      if (isReserved) yield* store64(reserved, lo, generation, Order.once);
    }
    return isReserved;
  }

  /** Begins a generation; gives a VMID of it. There are more VMIDs than CPUs, so one is left. */
  *#rollOverLocked(): Op<number> {
    const { layout, interconnect } = this.#parts;
    yield* add32(layout.generation, 1, Order.full);
    for (let at = 0; at < vmidMapBytes(this.#parts.vmidBits); at += 4) write32(layout.map + at, 0);
    for (let cpu = 0; cpu < this.#cpus; cpu++) yield* this.#reserve(cpu);
    yield* flushAllVmids(interconnect);
    write32(layout.cursor, 0);
    const fresh = this.#takeNext();
    if (fresh === 0) throw new Error('more CPUs than VMIDs');
    return fresh;
  }

  /** Takes the active VMID of a CPU away and reserves it. What an earlier rollover took and nobody came for stays reserved. */
  *#reserve(cpu: number): Op<void> {
    const active = this.#active(cpu);
    let lo = yield* load64(active, Order.once);
    let hi = high();
    while (!(yield* cas64(active, lo, hi, 0, 0, Order.full))) {
      lo = yield* load64(active, Order.once);
      hi = high();
    }
    if (lo === 0) {
      lo = yield* load64(active + RESERVED, Order.once);
      hi = high();
    }
    if (hi !== 0) this.#take(lo);
    yield* store64(active + RESERVED, lo, hi, Order.once);
  }

  /** Marks a VMID as taken; whether it was free. */
  #take(vmid: number): boolean {
    const at = this.#parts.layout.map + (vmid >>> 5) * 4;
    const bits = read32(at);
    if ((bits & (1 << (vmid & 31))) !== 0) return false;
    write32(at, bits | (1 << (vmid & 31)));
    return true;
  }

  /** Takes the next free VMID after the last one; 0 if there is none to the end. */
  #takeNext(): number {
    const { cursor } = this.#parts.layout;
    for (let vmid = read32(cursor) + 1; vmid < this.#count; vmid++) {
      if (!this.#take(vmid)) continue;
      write32(cursor, vmid);
      return vmid;
    }
    return 0;
  }

  #active(cpu: number): Word {
    return this.#parts.layout.cpus + cpu * CPU_VMID_BYTES;
  }

  get #cpus(): number {
    return this.#parts.interconnect.layout.cpus;
  }
}
