/**
 * Invalidation by range (FEAT_TLBIRANGE, Arm ARM D8.13.6): one operation covers (NUM + 1) * 2^(5 * SCALE + 1) pages of the granule, from a base on. A
 * range is cut into such pieces, the largest first; a single page that is left is invalidated by its address.
 */
import type { Ipa, Level, Vmid } from './address.ts';
import { NO_HINT, TlbiKind, type Stage2Command } from './tlbi.ts';

const SCALE_MAX = 3;
const NUM_MAX = 31;
/** Bits of SCALE's weight; the smallest piece has two pages. */
const SCALE_SHIFT = 5;

/** What to post for [`ipa`, `ipa + bytes`), whole pages of `pageBytes` bytes. */
export function rangePieces(
  vmid: Vmid,
  range: { readonly ipa: number; readonly bytes: number; readonly pageBytes: number },
): readonly Stage2Command[] {
  const { ipa, bytes, pageBytes } = range;
  const pieces: Stage2Command[] = [];
  let at = ipa;
  for (let pages = bytes / pageBytes; pages > 0;) {
    const piece = pages === 1 ? pageOf(vmid, at) : pieceOf(vmid, at, pages);
    pieces.push(piece);
    const covered = piece.kind === TlbiKind.range ? piecePages(piece) : 1;
    pages -= covered;
    at += covered * pageBytes;
  }
  return pieces;
}

/** Pages of the granule that a command of kind `range` covers. */
export function piecePages({ level: scale, num = 0 }: Stage2Command): number {
  return (num + 1) * unitOf(scale);
}

function pageOf(vmid: Vmid, ipa: number): Stage2Command {
  return { kind: TlbiKind.ipa, vmid, ipa: ipa as Ipa, level: NO_HINT };
}

/** The largest piece of at most so many pages, of which there are two or more. */
function pieceOf(vmid: Vmid, ipa: number, pages: number): Stage2Command {
  let scale = SCALE_MAX;
  while (unitOf(scale) > pages) scale--;
  const num = Math.min(NUM_MAX, Math.floor(pages / unitOf(scale)) - 1);
  return { kind: TlbiKind.range, vmid, ipa: ipa as Ipa, level: scale as Level, num };
}

function unitOf(scale: number): number {
  return 2 << (SCALE_SHIFT * scale);
}
