/**
 * The map of one page as a plain function for one geometry (4K, three levels, 40-bit IPA), written by hand: the same accesses as the
 * walker and its map visitor make where the tables exist, and nothing else. The yardstick of `bench seam`, no part of the simulator.
 */
import { Barrier, Order, add32, barrier, high, load64, store64, type Op } from '#port';
import { FRAME_BYTES, FRAME_META_BYTES, type PhysicalMemory } from '../machine/frames.ts';
import type { Phys } from '../machine/address.ts';
import type { Pgtable } from '../pgtable/pgtable.ts';

const TABLE = 3;
/** RW, Normal Write-Back, inner shareable, AF; XN in the high half. */
const LEAF_LO = 0x7ff;
const LEAF_HI = 0x400000;

/** Maps the page at `ipa` to `frame` where a level-3 table exists and its entry is empty. */
export function* mapByHand(
  pgt: Pgtable,
  memory: PhysicalMemory,
  ipa: number,
  frame: Phys,
): Op<void> {
  const { contents, meta, base } = memory.tables.layout;
  pgt.ops.walkBegin();
  let at = contents + (pgt.pgd - base) + Math.floor(ipa / 2 ** 30) * 8;
  let lo = yield* load64(at, Order.once);
  if ((lo & TABLE) !== TABLE) throw new Error('no level-2 table');
  at =
    contents +
    ((high() & 0xffff) * 2 ** 32 + ((lo & ~0xfff) >>> 0) - base) +
    (Math.floor(ipa / 2 ** 21) & 511) * 8;
  lo = yield* load64(at, Order.once);
  if ((lo & TABLE) !== TABLE) throw new Error('no level-3 table');
  const table = (high() & 0xffff) * 2 ** 32 + ((lo & ~0xfff) >>> 0) - base;
  at = contents + table + (Math.floor(ipa / FRAME_BYTES) & 511) * 8;
  lo = yield* load64(at, Order.once);
  if ((lo & 1) === 0) {
    const frameHi = Math.floor(frame / 2 ** 32);
    yield* store64(at, frame | 0 | LEAF_LO, frameHi | LEAF_HI, Order.release);
    yield* add32(meta + (table / FRAME_BYTES) * FRAME_META_BYTES, 1, Order.once);
  }
  pgt.ops.walkEnd();
  yield* barrier(Barrier.dsbIshst);
}
