/** Pages that come into being with contents: what a process copies into its memory, or another mapping of an object wrote. */
import { write32, type Op } from '#port';
import type { Hva, Phys } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import { HostState, hostPte } from './host-pte.ts';
import type { Mm } from './mm.ts';
import type { VmArea } from './vma.ts';

/** What a page is full of: this 8-byte word, again and again. */
export interface Filling {
  readonly lo: number;
  readonly hi: number;
}

const WORD_BYTES = 8;

/** A frame of nobody with these contents and one reference, or {@link NO_FRAME}. */
export function* allocateFilled(mm: Mm, { lo, hi }: Filling): Op<Phys> {
  const { frames } = mm.pages;
  const frame = yield* mm.pages.allocate();
  if (frame === NO_FRAME) return frame;
  const at = frames.wordOf(frame);
  for (let i = 0; i < frames.layout.contentBytes; i += WORD_BYTES) {
    write32(at + i, lo);
    write32(at + i + WORD_BYTES / 2, hi);
  }
  return frame;
}

/** Gives the shared object its page behind `hva`, before anybody touches it. False without memory. */
export function* fillShared(mm: Mm, area: VmArea, hva: Hva, filling: Filling): Op<boolean> {
  const { table, shared, pages } = mm;
  const frame = yield* allocateFilled(mm, filling);
  if (frame === NO_FRAME) return false;
  yield* pages.frames.own(frame, pages.ownerTag(area, hva));
  const held = hostPte(HostState.page, pages.numberOf(frame), 0);
  yield* table.lock.lock();
  shared.setLocked(shared.pageOf(area, hva), held);
  yield* table.lock.unlock();
  return true;
}
