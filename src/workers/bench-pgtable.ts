/**
 * Single page-table operations over every page of a slot, by one agent: no lock, no guest, no other user of the table. What an
 * operation needs before it (a mapped table, W taken away) is prepared outside the timed part; each operation changes every page.
 * bench/native/pgtable.c does the same in the same order.
 */
import { choose, now, type Op } from '#port';
import type { Phys } from '../machine/address.ts';
import { FRAME_BYTES, GUEST_RAM_BASE, type FrameZone } from '../machine/frames.ts';
import type { Memcache } from '../kvm/memcache.ts';
import type { TableCache } from '../pgtable/mm-ops.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import {
  stage2Mkold,
  stage2Mkyoung,
  stage2RelaxPerms,
  stage2Wrprotect,
} from '../pgtable/stage2-attributes.ts';
import { stage2Map } from '../pgtable/stage2-map.ts';
import { Prot } from '../pgtable/stage2-prot.ts';
import { stage2Unmap } from '../pgtable/stage2-unmap.ts';
import { mapByHand } from './bench-by-hand.ts';
import { memcacheFor, type World } from './world.ts';

/**
 * What is done to the slot: page by page, or as a range. `age` is a range and yet an operation per page, as the kernel ages until 6.4;
 * `mapByHand` is the yardstick of the seam.
 */
export type PgtableOperation =
  | 'map'
  | 'mapRandom'
  | 'relax'
  | 'mkyoung'
  | 'mapRange'
  | 'wrprotect'
  | 'unmap'
  | 'age'
  | 'mapByHand';

const RW = Prot.r | Prot.w;

export class PgtableBatch {
  readonly #world: World;
  readonly #memcache: Memcache;
  readonly #ipa: number;
  readonly #bytes: number;
  /** Pages in the order in which they are mapped one by one. */
  readonly #order: Uint32Array;

  constructor(world: World) {
    const [slot] = world.vm.parts.memslots.slots;
    if (slot === undefined) throw new Error('a benchmark needs a slot');
    this.#world = world;
    this.#memcache = memcacheFor(world, 0);
    this.#ipa = slot.ipa;
    this.#bytes = slot.bytes;
    this.#order = Uint32Array.from({ length: slot.pages }, (_, page) => page);
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
    yield* this.#unmapRange(pgt);
    if (operation === 'mapRange') return;
    yield* this.#mapRange(pgt);
    if (operation === 'relax') yield* this.#wrprotect(pgt);
    else if (operation === 'mkyoung') yield* this.#age(pgt);
    else if (operation.startsWith('map')) yield* this.#clearLeaves(pgt);
    if (operation === 'mapRandom') yield* this.#shuffle();
  }

  /** Unmaps all but the last page of each table, so that the tables stay: an allocation is not part of the walk. */
  *#clearLeaves(pgt: Stage2Pgtable): Op<void> {
    const reach = pgt.geometry.sizeOf(2);
    for (let at = this.#ipa; at < this.#ipa + this.#bytes; at += reach) {
      mustBeOk(yield* stage2Unmap(pgt, at, reach - FRAME_BYTES));
    }
  }

  /** Fisher and Yates; the agent's seed is the same for each batch, and so is the order. */
  *#shuffle(): Op<void> {
    const order = this.#order;
    for (let i = order.length - 1; i > 0; i--) {
      const j = yield* choose(i + 1);
      const page = order[i] as number;
      order[i] = order[j] as number;
      order[j] = page;
    }
  }

  *#perform(pgt: Stage2Pgtable, operation: PgtableOperation): Op<void> {
    switch (operation) {
      case 'map':
      case 'mapRandom':
        yield* this.#mapPages(pgt);
        break;
      case 'relax':
        yield* this.#relaxPages(pgt);
        break;
      case 'mkyoung':
        yield* this.#mkyoungPages(pgt);
        break;
      case 'mapRange':
        yield* this.#mapRange(pgt);
        break;
      case 'wrprotect':
        yield* this.#wrprotect(pgt);
        break;
      case 'unmap':
        yield* this.#unmapRange(pgt);
        break;
      case 'age':
        yield* this.#age(pgt);
        break;
      case 'mapByHand':
        yield* this.#mapByHand(pgt);
        break;
    }
  }

  *#mapPages(pgt: Stage2Pgtable): Op<void> {
    const cache = this.#memcache;
    for (let i = 0; i < this.#order.length; i++) {
      const offset = (this.#order[i] as number) * FRAME_BYTES;
      yield* cache.topUp(this.#world.vm.memcachePagesMin);
      const ipa = this.#ipa + offset;
      const request = { ipa, size: FRAME_BYTES, phys: frameAt(offset), prot: RW, cache };
      mustBeOk(yield* stage2Map(pgt, request));
    }
  }

  *#relaxPages(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      mustBeOk(yield* stage2RelaxPerms(pgt, this.#ipa + offset, RW));
    }
  }

  *#mkyoungPages(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      const old = yield* stage2Mkyoung(pgt, this.#ipa + offset);
      if (old.isYoung()) throw new Error('a leaf was young');
    }
  }

  *#mapRange(pgt: Stage2Pgtable): Op<void> {
    const cache = new ZoneCache(this.#world.memory.tables);
    const request = { ipa: this.#ipa, size: this.#bytes, phys: frameAt(0), prot: RW, cache };
    mustBeOk(yield* stage2Map(pgt, request));
  }

  *#wrprotect(pgt: Stage2Pgtable): Op<void> {
    mustBeOk(yield* stage2Wrprotect(pgt, this.#ipa, this.#bytes));
  }

  *#unmapRange(pgt: Stage2Pgtable): Op<void> {
    mustBeOk(yield* stage2Unmap(pgt, this.#ipa, this.#bytes));
  }

  *#age(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      const old = yield* stage2Mkold(pgt, this.#ipa + offset);
      if (!old.isYoung()) throw new Error('a leaf was old');
    }
  }

  *#mapByHand(pgt: Stage2Pgtable): Op<void> {
    for (let offset = 0; offset < this.#bytes; offset += FRAME_BYTES) {
      yield* this.#memcache.topUp(this.#world.vm.memcachePagesMin);
      yield* mapByHand(pgt, this.#world.memory, this.#ipa + offset, frameAt(offset));
    }
  }
}

/** Tables straight from the zone: a range needs more than a memcache holds. */
class ZoneCache implements TableCache {
  readonly #zone: FrameZone;

  constructor(zone: FrameZone) {
    this.#zone = zone;
  }

  *alloc(): Op<Phys> {
    return yield* this.#zone.zalloc();
  }
}

/** Off by a page from what a block could map: every leaf is a page. */
function frameAt(offset: number): Phys {
  return (GUEST_RAM_BASE + FRAME_BYTES + offset) as Phys;
}

function mustBeOk(outcome: Outcome): void {
  if (outcome !== 'ok') throw new Error(`a benchmarked operation: ${outcome}`);
}
