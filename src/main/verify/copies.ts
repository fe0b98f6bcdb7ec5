/** The copies that harvests made, against guest memory. */
import { read32, type Word } from '#port';
import type { Hva } from '../../machine/address.ts';
import type { World } from '../../workers/world.ts';

/** Of all harvested slots at the end of a run; null where no slot is harvested. */
export type CopiesResult = {
  /** Pages whose dirty bits are set. */
  readonly pagesDirty: number;
  /** Whether every page equals its copy, byte for byte. */
  readonly equal: boolean;
} | null;

export function compareCopies(world: World): CopiesResult {
  const { layout, vm } = world;
  if (layout.slotLogs.every(({ copy }) => copy === null)) return null;
  let pagesDirty = 0;
  let equal = true;
  for (const [id, { pages }] of layout.slots.entries()) {
    if (layout.slotLogs[id]?.copy === null) continue;
    const slot = vm.parts.memslots.byId(id);
    for (let page = 0; page < pages; page++) {
      if (slot?.hasBitmap === true && slot.isDirty(page)) pagesDirty++;
      equal &&= differenceAt(world, id, page) === null;
    }
  }
  return { pagesDirty, equal };
}

/** The first byte of a page, in whole words, at which it differs from its copy; null if they are equal. The slot has a copy. */
export function differenceAt({ layout, vm }: World, id: number, page: number): number | null {
  const { contentBytes } = layout.guestZone;
  const slot = layout.slots[id];
  const base = layout.slotLogs[id]?.copy ?? null;
  if (slot === undefined || base === null) throw new Error(`slot ${id} has no copy`);
  const copy = base + page * contentBytes;
  const memory = vm.parts.host.contentsOf((slot.hva + page * slot.pageBytes) as Hva);
  for (let at = 0; at < contentBytes; at += WORD_BYTES)
    if (read32(copy + at) !== contentAt(memory, at)) return at;
  return null;
}

const WORD_BYTES = 4;

/** A page that the host has nothing for holds zeros. */
function contentAt(memory: Word | null, at: number): number {
  return memory === null ? 0 : read32(memory + at);
}
