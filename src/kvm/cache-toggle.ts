/**
 * A guest that manages its caches (specification section 5M), on a machine without FWB: memory that it sees through caches and memory that
 * it sees around them are the same pages, so whenever it changes from one view to the other everything is cleaned.
 *
 * Set/way operations cannot be forwarded: they name lines of one CPU's cache. The first one cleans all of guest memory and arms HCR_EL2.TVM,
 * which traps the guest's changes of SCTLR_EL1; until caches are on again no other one has anything to clean.
 */
import type { Op } from '#port';
import type { Memslot } from './memslots.ts';
import { applyRange, applyRangeLocked } from './range.ts';
import { clip } from './user-areas.ts';
import type { Vm } from './vm.ts';

/** What of a vCPU decides on cleaning. One object per vCPU, its thread's own. */
export class CacheTraps {
  readonly #vm: Vm;
  /** SCTLR_EL1.M and .C, both. */
  #isEnabled = false;
  /** HCR_EL2.TVM: from reset to the first enabling of caches. */
  #isTvmSet: boolean;

  constructor(vm: Vm) {
    this.#vm = vm;
    this.#isTvmSet = !vm.parts.config.attributes.fwb;
  }

  get isTvmSet(): boolean {
    return this.#isTvmSet;
  }

  /**
   * The vCPU, which has run, is initialised again: its caches are off, and what it reads around them must be what it wrote through them.
   * Without FWB everything but device memory is unmapped, so that it is cleaned when it is mapped again.
   */
  *reset(): Op<void> {
    this.#isEnabled = false;
    const { fwb } = this.#vm.parts.config.attributes;
    this.#isTvmSet = !fwb;
    if (fwb) yield* this.#vm.parts.mmu.icacheInvalidateAll();
    else yield* unmapRam(this.#vm);
  }

  /** A trapped DC ISW, CSW or CISW. */
  *setWay(): Op<void> {
    if (this.#isTvmSet) return;
    yield* flushVm(this.#vm);
    this.#isTvmSet = true;
  }

  /** A write of SCTLR_EL1 after which MMU and caches are both on, or not. */
  *toggle(isEnabled: boolean): Op<void> {
    const isChange = isEnabled !== this.#isEnabled;
    this.#isEnabled = isEnabled;
    if (!this.#isTvmSet) return;
    if (isChange) yield* flushVm(this.#vm);
    if (isEnabled) this.#isTvmSet = false;
  }
}

/** Cleans the memory of every slot to the point of coherency; `mmu_lock` is handed over between chunks. */
export function* flushVm(vm: Vm): Op<void> {
  const { memslots, mmuLock } = vm.parts;
  yield* memslots.readLock();
  const slots = yield* memslots.all();
  yield* mmuLock.lock();
  for (const slot of slots) yield* applyRangeLocked(vm, slot, 'flush', 'yielding');
  yield* mmuLock.unlock();
  yield* memslots.readUnlock();
}

/** Unmaps the memory of every slot that is no device's. */
function* unmapRam(vm: Vm): Op<void> {
  const { memslots } = vm.parts;
  yield* memslots.readLock();
  for (const slot of yield* memslots.all()) yield* unmapRamOf(vm, slot);
  yield* memslots.readUnlock();
}

function* unmapRamOf(vm: Vm, slot: Memslot): Op<void> {
  const found = yield* vm.parts.areas.lock(slot);
  for (const area of found.filter(({ device }) => device === null)) {
    const { hva, bytes } = clip(area, slot);
    yield* applyRange(vm, { ipa: slot.ipa + hva - slot.hva, bytes }, 'unmap');
  }
  yield* vm.parts.areas.unlock();
}
