/** Migration: a page's contents in another frame, the page where it was. */
import type { Op } from '#port';
import type { Hva } from '../../machine/address.ts';
import { NO_FRAME } from '../../machine/frames.ts';
import type { HostResult, Mm } from './mm.ts';
import { beginMove, endMove, remap, unmapForMove, type PageMove } from './move.ts';

/** Moves the page of `hva` to a new frame; `skipped` without a page that can be moved or copied, or while it is pinned. */
export function* migratePage(mm: Mm, hva: Hva): Op<HostResult> {
  const move = yield* beginMove(mm, hva);
  if (move === null) return 'skipped';
  const result = yield* migrate(mm, move);
  yield* endMove(mm, move);
  return result;
}

function* migrate(mm: Mm, move: PageMove): Op<HostResult> {
  const { frames } = mm.pages;
  const fresh = yield* mm.pages.allocate();
  if (fresh === NO_FRAME) return 'noMemory';
  const isFree = yield* unmapForMove(mm, move);
  const isCopied = isFree && (yield* mm.copyPage(frames.wordOf(fresh), frames.wordOf(move.frame)));
  yield* remap(mm, move, isCopied ? fresh : move.frame);
  yield* frames.put(fresh);
  return isCopied ? 'done' : 'skipped';
}
