/**
 * The twin check (specification section 5P): a second stage-2 table that no hardware walks. What is done to the live table is done to it in
 * the same exclusive section by the code of another generation; both must then translate alike.
 *
 * What two generations legitimately do differently is kept out here, where an operation is applied: docs/twin.md lists the cases.
 */
import { Order, add32, type Op, type Word } from '#port';
import type { Ipa, Level, Phys } from '../machine/address.ts';
import type { Descriptor } from '../machine/descriptor.ts';
import { NO_FRAME, type FrameZone } from '../machine/frames.ts';
import { digestTable, type AccessFlagForm } from '../pgtable/digest.ts';
import { getLeaf, type Leaf } from '../pgtable/get-leaf.ts';
import type { MmOps, TableCache } from '../pgtable/mm-ops.ts';
import type { Outcome } from '../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../pgtable/pgtable.ts';
import type { Stage2Config } from '../pgtable/stage2-init.ts';
import type { SlotPlace } from './mapping-size.ts';
import type { MmuLockSide } from './mmu-lock.ts';
import type {
  DevicePage,
  FaultClass,
  FaultMapping,
  SplitRange,
  Stage2Operations,
} from './stage2-operations.ts';
import { Stage2Root } from './stage2-root.ts';
import { TablePages } from './table-pages.ts';

/** Digests of the live table and of its twin, in canonical form. */
export type TwinDigests = readonly [live: string, twin: string];

export interface TwinOptions {
  readonly live: Stage2Operations;
  readonly other: Stage2Operations;
  readonly config: Stage2Config;
  readonly tables: FrameZone;
  /** The word of the twin's root, and a counter of comparisons that failed. */
  readonly root: Word;
  readonly differences: Word;
  readonly accessFlag: AccessFlagForm;
}

export class Twin implements Stage2Operations {
  protected readonly live: Stage2Operations;
  protected readonly other: Stage2Operations;
  readonly #ops: UnwalkedTable;
  readonly #root: Stage2Root;
  readonly #differences: Word;
  readonly #accessFlag: AccessFlagForm;

  constructor(options: TwinOptions) {
    this.live = options.live;
    this.other = options.other;
    this.#ops = new UnwalkedTable(options.tables, options.config.geometry);
    const { config, tables } = options;
    this.#root = new Stage2Root({
      word: options.root,
      zone: tables.layout,
      config,
      ops: this.#ops,
    });
    this.#differences = options.differences;
    this.#accessFlag = options.accessFlag;
  }

  /** Allocates the twin. False without memory for its root. */
  *create(): Op<boolean> {
    return yield* this.#root.create();
  }

  /** The twin's table. */
  *pgt(): Op<Stage2Pgtable> {
    const pgt = yield* this.#root.pgt();
    if (pgt === null) throw new Error('a twin without a table');
    return pgt;
  }

  /** Of the live table. */
  hugetlbLevel(place: SlotPlace, hugeBytes: number): Level {
    return this.live.hugetlbLevel(place, hugeBytes);
  }

  get youngSide(): MmuLockSide {
    return this.live.youngSide;
  }

  faultSide(fault: FaultClass): MmuLockSide {
    return this.live.faultSide(fault);
  }

  chunkBytes(pgt: Stage2Pgtable): number {
    return this.live.chunkBytes(pgt);
  }

  /** Always: what is kept out below may turn a change of permissions into a mapping. */
  needsTopUp(_fault: FaultClass): boolean {
    return true;
  }

  *faultIn(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome> {
    const before = yield* getLeaf(this.unwalked(pgt), mapping.ipa);
    if (typeof before === 'string') return before;
    const both = comparable(pgt, mapping, before);
    const outcome = yield* this.live.faultIn(pgt, both);
    if (outcome !== 'ok') return outcome;
    yield* this.repeated(yield* this.pgt(), both);
    return outcome;
  }

  /** What succeeded in the live table, in the twin. */
  protected *repeated(twin: Stage2Pgtable, mapping: FaultMapping): Op<void> {
    same('ok', yield* this.other.faultIn(twin, { ...mapping, cache: this.#ops }));
  }

  *unmap(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    const outcome = yield* this.live.unmap(pgt, ipa, size);
    return same(outcome, yield* this.other.unmap(yield* this.pgt(), ipa, size));
  }

  *wrprotect(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    const outcome = yield* this.live.wrprotect(pgt, ipa, size);
    return same(outcome, yield* this.other.wrprotect(yield* this.pgt(), ipa, size));
  }

  *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    yield* this.other.mkyoung(yield* this.pgt(), ipa);
    return yield* this.live.mkyoung(pgt, ipa);
  }

  *mkold(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean> {
    yield* this.other.mkold(yield* this.pgt(), ipa, size);
    return yield* this.live.mkold(pgt, ipa, size);
  }

  /** Of the live table alone: ageing may have left another flag in the twin. */
  *isYoung(pgt: Stage2Pgtable, ipa: number, size: number): Op<boolean> {
    return yield* this.live.isYoung(pgt, ipa, size);
  }

  *flush(pgt: Stage2Pgtable, ipa: number, size: number): Op<Outcome> {
    const outcome = yield* this.live.flush(pgt, ipa, size);
    return same(outcome, yield* this.other.flush(yield* this.pgt(), ipa, size));
  }

  *changePte(pgt: Stage2Pgtable, ipa: number, frame: Phys): Op<void> {
    yield* this.live.changePte(pgt, ipa, frame);
    yield* this.other.changePte(yield* this.pgt(), ipa, frame);
  }

  /** What the live table replaces, or refuses to, is taken away in the twin first: the other generation would refuse, or replace, it. */
  *mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    const outcome = yield* this.live.mapDevice(pgt, page);
    return outcome === 'ok' ? yield* this.deviceRepeated(pgt, page) : outcome;
  }

  protected *deviceRepeated(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    const twin = yield* this.pgt();
    yield* this.other.unmap(twin, page.ipa, pgt.geometry.pageBytes);
    return same('ok', yield* this.other.mapDevice(twin, { ...page, cache: this.#ops }));
  }

  /** Block by block: what became of one in the live table is mapped in the twin, page by page, with what the twin's block allows. */
  *split(pgt: Stage2Pgtable, range: SplitRange): Op<Outcome> {
    const outcome = yield* this.live.split(pgt, range);
    const twin = yield* this.pgt();
    for (let at = range.ipa; at < range.ipa + range.size;) {
      const block = yield* leafAt(twin, at);
      const end = twin.geometry.alignDown(at, block.level) + twin.geometry.sizeOf(block.level);
      if (block.entry.isValid()) yield* this.#splitLike(pgt, twin, block, end);
      at = end;
    }
    return outcome;
  }

  /** The twin's block that ends at `end`, in leaves of the live table's sizes. */
  *#splitLike(pgt: Stage2Pgtable, twin: Stage2Pgtable, block: Leaf, end: number): Op<void> {
    const { geometry } = pgt;
    const first = end - geometry.sizeOf(block.level);
    for (let at = first, size = 0; at < end; at += size) {
      const live = yield* leafAt(this.unwalked(pgt), at);
      size = geometry.sizeOf(live.level);
      if (live.level === block.level) return;
      yield* this.repeated(twin, {
        ipa: at as Ipa,
        size,
        frame: (block.entry.address(geometry) + at - first) as Phys,
        isWrite: false,
        isExec: block.entry.isExecutable(),
        isPermission: false,
        isWritable: block.entry.isWritable(),
        isDevice: false,
        dic: false,
        logging: true,
        leafSize: size,
        cache: this.#ops,
      });
    }
  }

  /** The last moment at which there is something to compare. */
  *teardownLocked(pgt: Stage2Pgtable): Op<void> {
    yield* this.compare(pgt);
    yield* this.live.teardownLocked(pgt);
    yield* this.other.teardownLocked(yield* this.pgt());
  }

  *destroy(pgt: Stage2Pgtable): Op<void> {
    yield* this.live.destroy(pgt);
    const twin = yield* this.pgt();
    yield* this.#root.clear();
    yield* this.other.destroy(twin);
  }

  /** Digests both tables, in the same exclusive section; counts a difference. */
  *compare(pgt: Stage2Pgtable): Op<TwinDigests> {
    const live = yield* digestTable(this.unwalked(pgt), this.#accessFlag);
    const twin = yield* digestTable(yield* this.pgt(), this.#accessFlag);
    const digests = [live.hex(), twin.hex()] as const;
    if (digests[0] !== digests[1]) yield* add32(this.#differences, 1, Order.once);
    return digests;
  }

  /** The live table, read without being counted as a walk of it. */
  protected unwalked(pgt: Stage2Pgtable): Stage2Pgtable {
    return { ...pgt, ops: this.#ops };
  }
}

function* leafAt(pgt: Stage2Pgtable, ipa: number): Op<Leaf> {
  const leaf = yield* getLeaf(pgt, ipa);
  if (typeof leaf === 'string') throw new Error(`a leaf of a table: ${leaf}`);
  return leaf;
}

/**
 * The fault as both generations take it alike. A permission fault is one only if the leaf that lacked the permission still stands and has the
 * mapping's size: otherwise relaxing would find nothing, or a leaf built from scratch would inherit X from a larger one. An exec fault
 * leaves W as it was: while the slot logs, building from scratch would take it.
 */
function comparable(pgt: Stage2Pgtable, mapping: FaultMapping, before: Leaf): FaultMapping {
  const leafSize = pgt.geometry.sizeOf(before.level);
  const stands = before.entry.isValid() && leafSize === mapping.size;
  const keepsWrite = mapping.isPermission && mapping.isExec && before.entry.isWritable();
  return {
    ...mapping,
    leafSize,
    isPermission: mapping.isPermission && stands,
    isWritable: mapping.isWritable || keepsWrite,
  };
}

function same(outcome: Outcome, twin: Outcome): Outcome {
  if (outcome !== twin) throw new Error(`the live table: ${outcome}, its twin: ${twin}`);
  return outcome;
}

/** Operations of a table that no hardware walks: pages, and nothing to invalidate, clean or count. */
class UnwalkedTable extends TablePages implements MmOps, TableCache {
  readonly hasRangeTlbi = false;

  /** Straight from the zone: the twin must not empty a vCPU's cache. */
  *alloc(): Op<Phys> {
    const page = yield* this.zone.zalloc();
    if (page === NO_FRAME) throw new Error('no table page for the twin');
    return page;
  }

  *tlbFlushIpa(): Op<void> {}

  *tlbFlushIpaLocal(): Op<void> {}

  *tlbFlushRange(): Op<void> {}

  *tlbFlushVmid(): Op<void> {}

  *publishEntries(): Op<void> {}

  *dcacheCleanInvalidate(): Op<void> {}

  *icacheInvalidate(): Op<void> {}

  walkBegin(): void {}

  walkEnd(): void {}
}
