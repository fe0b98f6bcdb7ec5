/**
 * The shared word that says where a VM's stage-2 table is: the number of its first root page plus 1, or 0 for no table. All agents find
 * the table through it; each builds its own handle.
 */
import { Order, load32, store32, type Op, type Word } from '#port';
import type { Phys } from '../machine/address.ts';
import type { ZoneLayout } from '../machine/frames.ts';
import type { MmOps } from '../pgtable/mm-ops.ts';
import { NO_PGD, type Stage2Pgtable } from '../pgtable/pgtable.ts';
import { stage2Handle, stage2Init, type Stage2Config } from '../pgtable/stage2-init.ts';

export class Stage2Root {
  readonly #word: Word;
  readonly #zone: ZoneLayout;
  readonly #config: Stage2Config;
  readonly #ops: MmOps;
  #pgt: Stage2Pgtable | null = null;

  constructor(options: {
    readonly word: Word;
    /** Where table pages come from. */
    readonly zone: ZoneLayout;
    readonly config: Stage2Config;
    readonly ops: MmOps;
  }) {
    this.#word = options.word;
    this.#zone = options.zone;
    this.#config = options.config;
    this.#ops = options.ops;
  }

  /** Allocates an empty table and publishes it. False without memory for its root. */
  *create(): Op<boolean> {
    if ((yield* load32(this.#word, Order.once)) !== 0)
      throw new Error('stage 2 was initialised already');
    const { pgd } = yield* stage2Init(this.#config, this.#ops);
    if (pgd === NO_PGD) return false;
    const { base, frameBytes } = this.#zone;
    yield* store32(this.#word, (pgd - base) / frameBytes + 1, Order.release);
    return true;
  }

  /** The table, or null if there is none (any more). */
  *pgt(): Op<Stage2Pgtable | null> {
    const number = yield* load32(this.#word, Order.once);
    if (number === 0) return null;
    const { base, frameBytes } = this.#zone;
    const pgd = (base + (number - 1) * frameBytes) as Phys;
    if (this.#pgt?.pgd !== pgd) this.#pgt = stage2Handle(this.#config, pgd, this.#ops);
    return this.#pgt;
  }

  /** From here on nobody finds the table. */
  *clear(): Op<void> {
    yield* store32(this.#word, 0, Order.once);
  }
}
