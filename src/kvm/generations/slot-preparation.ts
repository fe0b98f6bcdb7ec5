/** What happens to a slot's memory before its first fault (specification section 5K): up to 5.10, and from 5.18 on nothing. */
import type { Op } from '#port';
import { ioremap } from '../ioremap.ts';
import type { SlotOutcome } from '../memslot-update.ts';
import type { Memslot } from '../memslots.ts';
import { applyRange } from '../range.ts';
import { clip, type UserArea } from '../user-areas.ts';
import type { Vm } from '../vm.ts';

export class SlotPreparation {
  /** Whether it reaches out of the IPA space. The last page cannot be used: off by one, and released so. */
  isBeyond({ ipaPages }: Vm, { baseGfn, pages }: Memslot): boolean {
    return baseGfn + pages >= ipaPages;
  }

  /** Of a slot that comes: its device areas are mapped; without FWB, what is mapped is cleaned. */
  *create(vm: Vm, slot: Memslot): Op<SlotOutcome> {
    const outcome = yield* this.revise(vm, slot);
    if (outcome !== 'ok') yield* applyRange(vm, slot, 'unmap');
    else if (!vm.parts.config.attributes.fwb) yield* applyRange(vm, slot, 'flush');
    return outcome;
  }

  /** Of one whose flags change. Under the mmap lock: who takes an area away afterwards unmaps what is mapped here. Device memory has no log. */
  *revise(vm: Vm, slot: Memslot): Op<SlotOutcome> {
    const { areas, prepare } = vm.parts;
    if (yield* prepare.strikes()) return 'noMemory';
    const found = yield* areas.lock(slot);
    const devices = found.filter(({ device }) => device !== null);
    const outcome =
      slot.hasBitmap && devices.length > 0
        ? 'invalid'
        : yield* this.prepareDevices(vm, slot, devices);
    yield* areas.unlock();
    return outcome;
  }

  protected *prepareDevices(vm: Vm, slot: Memslot, devices: readonly UserArea[]): Op<SlotOutcome> {
    for (const device of devices) {
      const part = clip(device, slot);
      const outcome = yield* ioremap(vm, {
        ipa: slot.ipa + part.hva - slot.hva,
        phys: part.device ?? 0,
        bytes: part.bytes,
        isWritable: part.isWritable && !slot.isReadonly,
      });
      if (outcome === 'noMemory' || outcome === 'fault') return outcome;
      if (outcome !== 'ok') return 'invalid';
    }
    return 'ok';
  }
}

/** Devices are mapped by their first faults, and memory is cleaned when it is mapped. */
export class SlotValidation extends SlotPreparation {
  override isBeyond({ ipaPages }: Vm, { baseGfn, pages }: Memslot): boolean {
    return baseGfn + pages > ipaPages;
  }

  override *create(vm: Vm, slot: Memslot): Op<SlotOutcome> {
    return yield* this.revise(vm, slot);
  }

  // oxlint-disable-next-line require-yield -- earlier generations have something to do.
  protected override *prepareDevices(): Op<SlotOutcome> {
    return 'ok';
  }
}
