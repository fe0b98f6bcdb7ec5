import { isDevice, type Backing, type Slot } from '../../workers/scenario.ts';
import { LEAF_SIZES } from '../granule.ts';
import type { SlotEntry, WorkloadFile } from './schema.ts';
import { checkWholePages } from './machine.ts';
import { registrationOf } from './userfaults.ts';
import type { Path } from '../field-path.ts';
import type { YamlSource } from '../yaml-source.ts';

/** Memslots of one VM, at most: what KVM/arm64 of 5.10 allows. */
const slotsMax = 512;
/** Everything simulated lives in one shared memory of this size. */
const memoryBytesMax = 2 ** 32;
const lineBytes = 64;
/** Device registers of one machine, at most: they lie below RAM. */
const deviceBytesMax = 2 ** 30;
/** Bytes of the huge pages that the host has, by page size: contiguous entries, and blocks. */
const HUGE_PAGES: Readonly<Record<number, readonly number[]>> = {
  4096: [2 ** 16, 2 ** 21, 2 ** 30],
  16384: [2 ** 21, 2 ** 25],
  65536: [2 ** 21, 2 ** 29],
};
/** From the base of guest RAM to that of table pages, but for some frames that vCPUs race for. */
const ramBytesMax = 60 * 2 ** 30;

/** A slot entry of the file and where its first copy is among the scenario's slots. */
export interface PlacedSlot {
  readonly index: number;
  readonly isPerVcpu: boolean;
  readonly pages: number;
}

export interface Placement {
  readonly pageBytes: number;
  readonly slots: readonly Slot[];
  readonly byName: ReadonlyMap<string, PlacedSlot>;
}

interface Extent {
  readonly entry: number;
  readonly vcpu: number;
  readonly base: number;
  readonly end: number;
}

/** What slots are placed with, besides the file. */
export interface PlacementOptions {
  readonly pageBytes: number;
  readonly vcpus: number;
  /** Each slot is cut to so many bytes. */
  readonly bytesMax: number;
}

/**
 * The slots at their guest-physical addresses, one copy per vCPU where asked for. Throws a UserError
 * for a slot that is not page aligned, overlaps another or reaches the IPA limit.
 */
export function placeSlots(
  source: YamlSource,
  file: WorkloadFile,
  { pageBytes, vcpus, bytesMax }: PlacementOptions,
): Placement {
  const slots: Slot[] = [];
  const extents: Extent[] = [];
  const byName = new Map<string, PlacedSlot>();
  for (const [i, entry] of file.slots.entries()) {
    checkAlignment(source, file, entry, i);
    if (byName.has(entry.name))
      throw source.problem(['slots', i, 'name'], `there are two slots named ${entry.name}`);
    const bytes = cutTo(entry, bytesMax, pageBytes);
    const backing = backingOf(source, { entry, i, bytes, pageBytes });
    const registration = registrationOf(source, entry, i);
    const copies = entry.perVcpu === undefined ? 1 : vcpus;
    byName.set(entry.name, {
      index: slots.length,
      isPerVcpu: entry.perVcpu !== undefined,
      pages: bytes / pageBytes,
    });
    for (let vcpu = 0; vcpu < copies; vcpu += 1) {
      const base = entry.base + vcpu * (entry.perVcpu ?? 0);
      const access = entry.readonly ? { isReadonly: true } : {};
      slots.push({ base, bytes, logging: entry.logging, ...access, ...backing, ...registration });
      extents.push({ entry: i, vcpu, base, end: base + bytes });
    }
    if (slots.length > slotsMax)
      throw source.problem(['slots', i], `more than ${slotsMax} slots, copies included`);
  }
  for (const extent of extents) checkLimit(source, file, extent);
  checkOverlaps(source, file, extents);
  checkShared(source, file, slots, extents);
  checkDevices(source, slots);
  return { pageBytes, slots, byName };
}

/** Bytes of a slot of at most `bytesMax`, in whole huge pages where it is made of them. */
function cutTo({ size, hugePage }: SlotEntry, bytesMax: number, pageBytes: number): number {
  const unit = hugePage ?? pageBytes;
  return size <= bytesMax ? size : Math.max(unit, bytesMax - (bytesMax % unit));
}

/** The area behind a slot; nothing for anonymous memory. */
function backingOf(
  source: YamlSource,
  slot: { entry: SlotEntry; i: number; bytes: number; pageBytes: number },
): { readonly backing?: Backing } {
  const { entry, i, pageBytes } = slot;
  for (const [key, kind] of [
    ['hugePage', 'hugetlb'],
    ['offset', 'shared'],
  ] as const) {
    if (entry[key] !== undefined && entry.backing !== kind)
      throw source.keyProblem(['slots', i], key, `means nothing with the backing ${entry.backing}`);
  }
  if (entry.backing === 'anonymous') return {};
  if (entry.backing === 'transparent-huge')
    return { backing: { kind: 'transparentHuge', pageBytes, offset: 0 } };
  if (entry.backing === 'hugetlb') return { backing: hugetlbOf(source, slot) };
  if (entry.backing === 'device') {
    if (entry.logging)
      throw source.problem(['slots', i, 'logging'], 'device memory has no dirty log');
    return { backing: { kind: 'pfnmap', pageBytes, offset: 0 } };
  }
  const offset = entry.offset ?? 0;
  if (offset % pageBytes !== 0)
    throw source.problem(['slots', i, 'offset'], 'not a multiple of the page size');
  return { backing: { kind: 'shared', pageBytes, offset } };
}

function hugetlbOf(
  source: YamlSource,
  { entry, i, bytes, pageBytes }: { entry: SlotEntry; i: number; bytes: number; pageBytes: number },
): Backing {
  const sizes = HUGE_PAGES[pageBytes] ?? [];
  const { hugePage } = entry;
  if (hugePage === undefined || !sizes.includes(hugePage)) {
    const known = sizes.map((each) => LEAF_SIZES.get(each)).join(', ');
    const path: Path = hugePage === undefined ? ['slots', i] : ['slots', i, 'hugePage'];
    throw source.problem(path, `hugetlb needs a hugePage of this granule: ${known}`);
  }
  if (bytes % hugePage !== 0)
    throw source.problem(['slots', i, 'size'], 'not a multiple of the huge page');
  return { kind: 'hugetlb', pageBytes: hugePage, offset: 0 };
}

function checkAlignment(source: YamlSource, file: WorkloadFile, entry: SlotEntry, i: number): void {
  for (const key of ['base', 'size', 'perVcpu'] as const) {
    checkWholePages(source, file, ['slots', i, key], entry[key] ?? 0);
  }
  if (entry.size === 0) throw source.problem(['slots', i, 'size'], 'a slot has at least one page');
}

/** The kernel's check, off by one as in 5.10: the last page of the IPA space is not usable. */
function checkLimit(source: YamlSource, file: WorkloadFile, extent: Extent): void {
  if (extent.end < 2 ** file.vm.ipaBits) return;
  const whose = extent.vcpu > 0 ? `the copy of vCPU ${extent.vcpu}` : 'the slot';
  throw source.problem(
    ['slots', extent.entry, 'base'],
    `${whose} ends at 0x${extent.end.toString(16)}: it has to end below 0x${(2 ** file.vm.ipaBits).toString(16)} (vm.ipaBits ${file.vm.ipaBits})`,
  );
}

function checkOverlaps(source: YamlSource, file: WorkloadFile, extents: readonly Extent[]): void {
  const inOrder = extents.toSorted((a, b) => a.base - b.base);
  for (const [i, extent] of inOrder.entries()) {
    const before = inOrder[i - 1];
    if (!before || before.end <= extent.base) continue;
    const [first, second] = before.entry < extent.entry ? [before, extent] : [extent, before];
    const name = file.slots[first.entry]?.name ?? '';
    const path: Path = ['slots', second.entry, first.entry === second.entry ? 'perVcpu' : 'base'];
    const what = first.entry === second.entry ? 'its copies overlap' : `overlaps the slot ${name}`;
    throw source.problem(path, `${what} at 0x${extent.base.toString(16)}`);
  }
}

/** Each vCPU has one word of its own in each page: a page seen at two addresses would have two logs of it. */
function checkShared(
  source: YamlSource,
  file: WorkloadFile,
  slots: readonly Slot[],
  extents: readonly Extent[],
): void {
  const parts = slots.flatMap(({ backing, bytes }, i) =>
    backing?.kind === 'shared' ? [{ i, from: backing.offset, end: backing.offset + bytes }] : [],
  );
  for (const part of parts) {
    const other = parts.find(
      ({ i, from, end }) => i < part.i && from < part.end && part.from < end,
    );
    if (other === undefined) continue;
    const name = file.slots[extents[other.i]?.entry ?? 0]?.name ?? '';
    const entry = extents[part.i]?.entry ?? 0;
    throw source.problem(['slots', entry], `shares pages of the object with the slot ${name}`);
  }
}

/**
 * Host RAM in frames: `machine.memory`, or what the slots hold. Throws a UserError if it is less than `pagesNeeded` or obviously
 * more than the simulator can have; the exact size of the shared memory is computed where it is laid out.
 */
export function hostFrames(
  source: YamlSource,
  file: WorkloadFile,
  placement: Placement,
  pagesNeeded: number,
): number {
  const { pageBytes } = placement;
  const pages = slotPages(placement);
  const { memory } = file.machine;
  const path: Path = memory === undefined ? ['slots'] : ['machine', 'memory'];
  checkWholePages(source, file, path, memory ?? 0);
  const frames = memory === undefined ? pages : memory / pageBytes;
  const frameBytes = file.vm.contents === 'page' ? pageBytes : lineBytes;
  // At the least a frame needs its contents, and a page of a slot its entry in the page table.
  if (frames * frameBytes + pages * 8 >= memoryBytesMax) {
    throw source.problem(
      path,
      `${frames} frames of ${frameBytes} bytes and ${pages} pages in slots do not fit into the 4 GiB that a simulated machine may have`,
    );
  }
  if (frames * pageBytes > ramBytesMax) {
    throw source.problem(
      path,
      `more RAM than fits below the table pages: at most ${ramBytesMax / 2 ** 30} GiB`,
    );
  }
  if (frames < pagesNeeded) {
    throw source.problem(
      path,
      `${frames} pages of memory for ${pagesNeeded} pages that the guest programs touch`,
    );
  }
  return frames;
}

/** Pages of RAM of all slots together. */
export function slotPages({ slots, pageBytes }: Pick<Placement, 'slots' | 'pageBytes'>): number {
  return slots
    .filter((slot) => !isDevice(slot))
    .reduce((sum, slot) => sum + slot.bytes / pageBytes, 0);
}

/** Device registers that do not fit below RAM. */
function checkDevices(source: YamlSource, slots: readonly Slot[]): void {
  const bytes = slots.filter(isDevice).reduce((sum, slot) => sum + slot.bytes, 0);
  if (bytes > deviceBytesMax)
    throw source.problem(['slots'], `more than ${deviceBytesMax / 2 ** 20} MiB of device memory`);
}
