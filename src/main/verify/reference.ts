/**
 * The reference of a run: which leaves the stage-2 table must have, from slots, host memory and the log of acknowledged accesses. No
 * stage-2 entry is read.
 */
import { read32 } from '#port';
import type { Gfn, Hva, Phys } from '../../machine/address.ts';
import { Descriptor } from '../../machine/descriptor.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { LAST_LEVEL } from '../../machine/geometry.ts';
import { TableDigest } from '../../pgtable/digest.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import { Prot } from '../../pgtable/stage2-prot.ts';
import type { Memslot } from '../../kvm/memslots.ts';
import { AccessLog, type LogEntry } from '../../workers/log.ts';
import type { World } from '../../workers/world.ts';

/** A page that some vCPU accessed. */
export interface ReferencePage {
  /** Index over all slots. */
  readonly page: number;
  readonly ipa: number;
  readonly hva: Hva;
  /** The host's frame behind it; {@link NO_FRAME} if the host has none. */
  readonly frame: Phys;
  readonly writable: boolean;
  readonly executable: boolean;
  /** Per vCPU: what it did to the page, or null. */
  readonly entries: readonly (LogEntry | null)[];
}

/** The accessed pages in ascending order of IPA. */
export function referenceOf(world: World): ReferencePage[] {
  const { layout, vm } = world;
  const logs = Array.from({ length: layout.vcpus }, (_, vcpu) => new AccessLog(layout, vcpu));
  const pages: ReferencePage[] = [];
  let first = 0;
  for (const [id, began] of layout.slots.entries()) {
    const slot = vm.parts.memslots.byId(id);
    if (slot !== undefined) pages.push(...pagesOf(world, slot, first, logs));
    first += began.pages;
  }
  return pages.toSorted((a, b) => a.ipa - b.ipa);
}

/** The accessed pages of a slot; `first` is the index of its first page over all slots of the scenario. */
function pagesOf(
  { layout, vm }: World,
  slot: Memslot,
  first: number,
  logs: readonly AccessLog[],
): ReferencePage[] {
  const protectEpoch = read32(layout.words.protectEpoch);
  const discardEpoch = read32(layout.words.discardEpoch);
  const pages: ReferencePage[] = [];
  for (let i = 0; i < slot.pages; i++) {
    const entries = logs.map((log) => log.entry(first + i, discardEpoch));
    if (entries.every((entry) => entry === null)) continue;
    pages.push({
      page: first + i,
      ipa: slot.ipa + i * slot.pageBytes,
      hva: slot.hvaOf((slot.baseGfn + i) as Gfn),
      frame: vm.parts.host.lookup(slot.hvaOf((slot.baseGfn + i) as Gfn)),
      writable:
        !slot.isReadonly &&
        (!slot.isLogging() || entries.some((entry) => wrote(entry, protectEpoch))),
      executable: vm.parts.features.dic || entries.some((entry) => entry?.executed === true),
      entries,
    });
  }
  return pages;
}

/** Whether the vCPU wrote the page after the last write-protection of everything. */
function wrote(entry: LogEntry | null, protectEpoch: number): boolean {
  return entry !== null && entry.sequence !== 0 && entry.protectEpoch === protectEpoch;
}

/** The leaf that maps a reference page. */
export function referenceLeaf(
  pgt: Stage2Pgtable,
  page: ReferencePage,
  writable: boolean,
): Descriptor {
  const prot = Prot.r | (writable ? Prot.w : 0) | (page.executable ? Prot.x : 0);
  const attributes = pgt.attributes.encode(prot);
  if (attributes === null) throw new Error('guest memory is no device');
  return Descriptor.leaf(pgt.geometry, page.frame, LAST_LEVEL, attributes);
}

/** Digest of the table that has exactly these leaves and the tables above them. `writable`: false for all leaves read-only. */
export function referenceDigest(
  pgt: Stage2Pgtable,
  pages: readonly ReferencePage[],
  writable: boolean,
): TableDigest {
  const { geometry, startLevel } = pgt;
  const digest = new TableDigest();
  const open = [-1, -1, -1];
  const table = Descriptor.table(geometry, 0 as Phys);
  for (const page of pages) {
    for (let level = startLevel; level < LAST_LEVEL; level++) {
      const above = level as 0 | 1 | 2;
      const number = geometry.blockNumber(page.ipa, above);
      if (open[level] === number) continue;
      open[level] = number;
      digest.add(table, number * geometry.sizeOf(above), above);
    }
    digest.add(referenceLeaf(pgt, page, writable && page.writable), page.ipa, LAST_LEVEL);
  }
  return digest;
}

/** Whether a page's frame is there at all. */
export function isBacked(page: ReferencePage): boolean {
  return page.frame !== NO_FRAME;
}
