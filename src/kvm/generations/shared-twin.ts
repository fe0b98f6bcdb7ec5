/**
 * The twin of a table that many change at once, 5.18 on ([docs/twin.md](../../../docs/twin.md)): faults race in the live table, and are repeated in the
 * twin one after another, under a lock of its own. The order may be another one, so what is repeated is not the fault as it was but what is
 * left of it: the leaf that stands in the live table now is looked up again under that lock.
 *
 *  1. vCPU 0 maps a page read-only, vCPU 1 adds W.
 *  2. vCPU 1 has the twin's lock first and maps the page with W: in the live table it is writable.
 *  3. vCPU 0 has it next. Repeated as it was, its fault would take W away. It asked for R, W stands in both tables: W stays.
 * Whoever changes a live leaf comes here afterwards, so the last to come saw the last change.
 */
import type { Op } from '#port';
import type { SpinLock } from '../../locking/spin-lock.ts';
import type { Descriptor } from '../../machine/descriptor.ts';
import { getLeaf } from '../../pgtable/get-leaf.ts';
import type { Outcome } from '../../pgtable/outcome.ts';
import type { Stage2Pgtable } from '../../pgtable/pgtable.ts';
import type { DevicePage, FaultClass, FaultMapping } from '../stage2-operations.ts';
import { Twin, type TwinOptions } from '../twin.ts';

export class SharedTwin extends Twin {
  readonly #lock: SpinLock;

  /** `lock`: taken inside `mmu_lock`. */
  constructor(options: TwinOptions & { readonly lock: SpinLock }) {
    super(options);
    this.#lock = options.lock;
  }

  /** The live table is handed each fault as it is. */
  override needsTopUp(fault: FaultClass): boolean {
    return this.live.needsTopUp(fault);
  }

  override *faultIn(pgt: Stage2Pgtable, mapping: FaultMapping): Op<Outcome> {
    const outcome = yield* this.live.faultIn(pgt, mapping);
    if (outcome !== 'ok') return outcome;
    yield* this.#lock.lock();
    yield* this.#repeat(pgt, mapping);
    yield* this.#lock.unlock();
    return outcome;
  }

  /**
   * Maps in the twin what the fault wanted and what was there, as far as it stands in the live table. Nothing if that has no leaf of this size
   * now: whoever changed it comes next. No more than stands there: a permission that was taken since; no less: one that nobody asked for.
   */
  *#repeat(pgt: Stage2Pgtable, mapping: FaultMapping): Op<void> {
    const { size, ipa } = mapping;
    const live = yield* this.#leafOf(this.unwalked(pgt), ipa, size);
    if (live === null) return;
    const twin = yield* this.pgt();
    const before = yield* this.#leafOf(twin, ipa, size);
    const had = before !== null && before.address(pgt.geometry) === mapping.frame ? before : null;
    const isWritable = mapping.isWritable || had?.isWritable() === true;
    const isExec = mapping.isExec || had?.isExecutable() === true;
    yield* this.repeated(twin, {
      ...mapping,
      isPermission: false,
      isWritable: isWritable && live.isWritable(),
      isExec: isExec && live.isExecutable(),
    });
  }

  *#leafOf(pgt: Stage2Pgtable, ipa: number, size: number): Op<Descriptor | null> {
    const leaf = yield* getLeaf(pgt, ipa);
    if (typeof leaf === 'string') throw new Error(`a leaf of a table: ${leaf}`);
    const isLeaf = leaf.entry.isValid() && pgt.geometry.sizeOf(leaf.level) === size;
    return isLeaf ? leaf.entry : null;
  }

  override *mkyoung(pgt: Stage2Pgtable, ipa: number): Op<Descriptor> {
    yield* this.#lock.lock();
    yield* this.other.mkyoung(yield* this.pgt(), ipa);
    yield* this.#lock.unlock();
    return yield* this.live.mkyoung(pgt, ipa);
  }

  /** What is mapped there already stays as it is. */
  override *mapDevice(pgt: Stage2Pgtable, page: DevicePage): Op<Outcome> {
    const outcome = yield* this.live.mapDevice(pgt, page);
    if (outcome !== 'ok') return outcome;
    const leaf = yield* this.#leafOf(this.unwalked(pgt), page.ipa, pgt.geometry.pageBytes);
    return yield* this.deviceRepeated(pgt, { ...page, isWritable: leaf?.isWritable() === true });
  }
}
