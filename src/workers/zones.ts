/** The zones of frames of a run, and how many frames each has. */
import { CACHE_PAGES } from '../kvm/table-page-cache.ts';
import { FRAME_META_BYTES, ZONE_STATE_BYTES, type ZoneLayout } from '../machine/frames.ts';
import { LAST_LEVEL, stage2Root } from '../machine/geometry.ts';
import { geometryOf, pageBytesOf } from '../machine/shape.ts';
import { hostProgramsOf, isSlotProgram, type Scenario, type Slot } from './scenario.ts';
import type { Space } from './space.ts';

/** Bytes kept of a frame when a guest keeps one line of each. */
const LINE_CONTENT_BYTES = 64;

/** Bytes that are kept of a guest frame. */
export function contentBytesOf(scenario: Scenario): number {
  return scenario.contents === 'page' ? pageBytesOf(scenario.machine) : LINE_CONTENT_BYTES;
}

/** The frames of a zone are aligned to their size in the shared memory too, so that a word's table page can be told from its place. */
export function zone(
  space: Space,
  shape: Pick<ZoneLayout, 'base' | 'frames' | 'frameBytes' | 'contentBytes'>,
): ZoneLayout {
  const { frames, frameBytes, contentBytes } = shape;
  return {
    ...shape,
    state: space.take(ZONE_STATE_BYTES),
    meta: space.take(frames * FRAME_META_BYTES),
    contents: space.takeAligned(frames * contentBytes, frameBytes),
  };
}

/**
 * The host's frames, and one for each vCPU: two that fault in one page both take a frame before one of them gives its own back,
 * which must not look like the end of memory when only the last page is missing.
 */
export function guestFrames(scenario: Scenario): number {
  return scenario.frames * (scenario.vms ?? 1) + scenario.vcpus;
}

/** Table pages that a run can need: full caches of the vCPUs and of the VM, the root with its alignment, and every table of every slot, wherever it is moved. */
export function tableFrames(scenario: Scenario): number {
  const geometry = geometryOf(scenario.machine);
  const root = stage2Root(geometry, scenario.ipaBits);
  const moved = hostProgramsOf(scenario)
    .filter(isSlotProgram)
    .map(({ slot }) => scenario.slots[slot] as Slot);
  let frames = 2 * root.pages;
  for (const slot of [...scenario.slots, ...moved]) {
    for (let level = root.startLevel; level < LAST_LEVEL; level++) {
      const reach = geometry.sizeOf(level);
      frames += Math.ceil(slot.bytes / reach) + 1;
    }
  }
  const caches = scenario.vcpus + (scenario.vms ?? 1) + moved.length;
  const tables = (scenario.vms ?? 1) * (scenario.twin ? 2 : 1);
  return caches * CACHE_PAGES + tables * frames;
}
