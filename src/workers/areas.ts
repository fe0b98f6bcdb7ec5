/** The host's user memory behind the slots of a scenario. */
import { HVA_BASE } from '../kvm/host/layout.ts';
import type { VmaSpec } from '../kvm/host/vma.ts';
import type { Hva } from '../machine/address.ts';
import { DEVICE_BASE } from '../machine/frames.ts';
import type { Geometry } from '../machine/geometry.ts';
import type { Backing, Scenario, Slot } from './scenario.ts';

/**
 * An area of the host's user memory behind each slot, in their order from `from` on. Each VM has its process; addresses differ all the same, and
 * with them the owners' tags of frames.
 */
export function areasOf(
  scenario: Scenario,
  geometry: Geometry,
  { from, agents }: { readonly from: number; readonly agents: number },
): VmaSpec[] {
  const { pageBytes } = geometry;
  let next = from;
  let device: number = DEVICE_BASE;
  return scenario.slots.map((slot): VmaSpec => {
    const { bytes } = slot;
    const { kind, pageBytes: hugeBytes, offset } = slot.backing ?? anonymous(pageBytes);
    const hva = areaStart(slot, next, geometry);
    next = hva + bytes;
    const pgoff = (kind === 'pfnmap' ? device : offset) / pageBytes;
    if (kind === 'pfnmap') device += bytes;
    return {
      hva,
      bytes,
      kind,
      hugeBytes,
      pgoff,
      isWritable: true,
      ...registrationOf(slot, scenario.vcpus, agents),
    };
  });
}

/** The userfault registration of a slot's area, if it has one; every agent may wait. */
function registrationOf(
  { userfault }: Slot,
  vcpus: number,
  waiters: number,
): Pick<VmaSpec, 'userfault'> {
  if (userfault === undefined) return {};
  const queues = { shared: 1, 'per-vcpu': vcpus, exit: 0 }[userfault.queue];
  return { userfault: { mode: userfault.mode, queues, waiters } };
}

function anonymous(pageBytes: number): Backing {
  return { kind: 'anonymous', pageBytes, offset: 0 };
}

/**
 * Where the area of a slot begins, from `from` on: in the place of a block that its first guest address has, for the largest block that
 * the slot can hold; so that such blocks can be mapped. A huge page of hugetlb begins where such pages do.
 */
function areaStart({ base, bytes, backing }: Slot, from: number, geometry: Geometry): Hva {
  const isHugetlb = backing?.kind === 'hugetlb';
  const unit = isHugetlb ? backing.pageBytes : largestBlock(bytes, geometry);
  const inside = isHugetlb ? 0 : base % unit;
  const candidate = from - (from % unit) + inside;
  return (candidate < from ? candidate + unit : candidate) as Hva;
}

function largestBlock(bytes: number, geometry: Geometry): number {
  const levels = ([1, 2] as const).filter((level) => level >= geometry.blockLevelMin);
  const fits = levels.map((level) => geometry.sizeOf(level)).find((size) => size <= bytes);
  return fits ?? geometry.pageBytes;
}

/** Where the areas of the next VM may begin. */
export function endOf(areas: readonly Pick<VmaSpec, 'hva' | 'bytes'>[]): number {
  return Math.max(HVA_BASE, ...areas.map(({ hva, bytes }) => hva + bytes));
}
