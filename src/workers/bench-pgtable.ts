/**
 * Single page-table operations over every page of a slot, by one agent: no lock, no guest, no other user of the table. What an
 * operation needs before it (a mapped table, W taken away) is prepared outside the timed part.
 */
import { now, type Op } from '#port';
import type { Phys } from '../machine/address.ts';
import { FRAME_BYTES, GUEST_RAM_BASE } from '../machine/frames.ts';
import type { Memcache } from '../kvm/memcache.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import { stage2Mkyoung, stage2RelaxPerms, stage2Wrprotect } from '../pgtable/stage2-attributes.ts';
import { stage2Map } from '../pgtable/stage2-map.ts';
import { Prot } from '../pgtable/stage2-prot.ts';
import { stage2Unmap } from '../pgtable/stage2-unmap.ts';
import { mapByHand } from './bench-by-hand.ts';
import { memcacheFor, type World } from './world.ts';

/** Operations; `mapByHand` is the yardstick of the seam. */
export const PGTABLE_OPERATIONS = [
  'map',
  'relax',
  'mkyoung',
  'wrprotect',
  'unmap',
  'mapByHand',
] as const;
export type PgtableOperation = (typeof PGTABLE_OPERATIONS)[number];

const RW = Prot.r | Prot.w;

export class PgtableBatch {
  readonly #world: World;
  readonly #memcache: Memcache;
  readonly #ipa: number;
  readonly #bytes: number;

  constructor(world: World) {
    const [slot] = world.vm.parts.memslots.slots;
    if (slot === undefined) throw new Error('a benchmark needs a slot');
    this.#world = world;
    this.#memcache = memcacheFor(world, 0);
    this.#ipa = slot.ipa;
    this.#bytes = slot.bytes;
  }

  /** Nanoseconds for the whole slot. */
  *run(operation: PgtableOperation): Op<number> {
    const pgt = yield* this.#world.vm.pgt();
    if (pgt === null) throw new Error('a benchmark without a table');
    yield* this.#prepare(pgt, operation);
    const since = now();
    yield* this.#perform(pgt, operation);
    return now() - since;
  }

  *#prepare(pgt: Stage2Pgtable, operation: PgtableOperation): Op<void> {
    yield* stage2Unmap(pgt, this.#ipa, this.#bytes);
    yield* this.#mapAll(pgt);
    if (operation === 'map' || operation === 'mapByHand') yield* this.#clearLeaves(pgt);
    if (operation === 'relax') yield* stage2Wrprotect(pgt, this.#ipa, this.#bytes);
  }

  /** Unmaps all but the last page of each table, so that the tables stay: an allocation is not part of the walk. */
  *#clearLeaves(pgt: Stage2Pgtable): Op<void> {
    const reach = pgt.geometry.sizeOf(2);
    for (let at = this.#ipa; at < this.#ipa + this.#bytes; at += reach) {
      yield* stage2Unmap(pgt, at, reach - FRAME_BYTES);
    }
  }

  *#perform(pgt: Stage2Pgtable, operation: PgtableOperation): Op<void> {
    if (operation === 'map') yield* this.#mapAll(pgt);
    else if (operation === 'mapByHand') yield* this.#mapAllByHand(pgt);
    else if (operation === 'relax') yield* this.#relaxAll(pgt);
    else if (operation === 'mkyoung') yield* this.#mkyoungAll(pgt);
    else if (operation === 'wrprotect') yield* stage2Wrprotect(pgt, this.#ipa, this.#bytes);
    else yield* stage2Unmap(pgt, this.#ipa, this.#bytes);
  }

  *#mapAll(pgt: Stage2Pgtable): Op<void> {
    const cache = this.#memcache;
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      yield* cache.topUp(this.#world.vm.memcachePagesMin);
      const ipa = this.#ipa + offset;
      yield* stage2Map(pgt, { ipa, size: FRAME_BYTES, phys: frameAt(offset), prot: RW, cache });
    }
  }

  *#mapAllByHand(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      yield* this.#memcache.topUp(this.#world.vm.memcachePagesMin);
      yield* mapByHand(pgt, this.#world.memory, this.#ipa + offset, frameAt(offset));
    }
  }

  *#relaxAll(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      yield* stage2RelaxPerms(pgt, this.#ipa + offset, RW);
    }
  }

  *#mkyoungAll(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      yield* stage2Mkyoung(pgt, this.#ipa + offset);
    }
  }
}

function frameAt(offset: number): Phys {
  return (GUEST_RAM_BASE + offset) as Phys;
}
