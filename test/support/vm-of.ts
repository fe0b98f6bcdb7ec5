/** Variations of a lab's VM, and what tests of its slots and notifiers have in common. */
import { drive, read32 } from '#port';
import { EventKind } from '../../src/engine/events.ts';
import type { HvaRange } from '../../src/kvm/host/mmu-notifier.ts';
import type { MemoryRegion } from '../../src/kvm/memslot-update.ts';
import type { Memslot } from '../../src/kvm/memslots.ts';
import { Vm, type VmParts } from '../../src/kvm/vm.ts';
import type { Hva } from '../../src/machine/address.ts';
import { TlbiKind } from '../../src/machine/tlbi.ts';
import type { World } from '../../src/workers/world.ts';
import { PAGE, type Lab, type Seen } from './lab.ts';

/** A view's VM with other parts. */
export function vmOf(world: World, parts: Partial<VmParts> = {}): Vm {
  return new Vm({ ...world.vm.parts, ...parts });
}

/** User addresses of pages of a slot. */
export function pagesOf(slot: Memslot, page: number, pages = 1): HvaRange {
  return { hva: (slot.hva + page * PAGE) as Hva, bytes: pages * PAGE };
}

/** A slot id that a lab of one slot has to spare, with user addresses of its own unless said otherwise. */
export function spareRegion(lab: Lab, region: Partial<MemoryRegion>): MemoryRegion {
  return { id: 1, ipa: 0x8000_0000, hva: lab.slot.hva, bytes: 2 * PAGE, flags: 0, ...region };
}

/** Leaves that map pages of a range of IPAs: page numbers from `ipa` on. */
export function mappedPages(lab: Lab, ipa: number, pages: number): number[] {
  return Array.from({ length: pages }, (_, page) => page).filter((page) =>
    lab
      .path(ipa + page * PAGE)
      .at(-1)
      ?.value.isValid(),
  );
}

/** What happened to one leaf, and to TLBs, in order; `at` is the word of the leaf. */
export function story(events: readonly Seen[], at: number): string[] {
  return events.flatMap(({ kind, at: word, newLo, newHi }) => {
    if (kind === EventKind.store64 && word === at) return [(newLo & 1) === 0 ? 'break' : 'make'];
    if (kind === EventKind.tlbi)
      return [word === TlbiKind.vmid ? 'flush' : `TLBI ${newLo} ${newHi.toString(16)}`];
    return [];
  });
}

/** Bytes that were cleaned, by page number. */
export function cleaned(events: readonly Seen[]): string[] {
  return events
    .filter(({ kind }) => kind === EventKind.dcacheClean)
    .map(({ at, newLo }) => `${at.toString(16)} ${newLo.toString(16)}`);
}

/** Sequence and count of the notifier. */
export function notifierWords(lab: Lab): readonly [sequence: number, count: number] {
  const { notifierSequence, notifierCount } = lab.world.layout.words;
  return [read32(notifierSequence), read32(notifierCount)];
}

/** References of the guest's first frames: who pins what. */
export function isTornDown(lab: Lab): boolean {
  return drive(lab.world.vm.pgt()) === null;
}
