/** A barrier between the phases of a run. */
import { Order, add32, load32, signalAdd32, store32, wait, type Op, type Word } from '#port';

export class Barrier {
  readonly #arrived: Word;
  readonly #generation: Word;
  readonly #parties: number;

  /** `generation` is a waitable word; both start at 0. */
  constructor(options: {
    readonly arrived: Word;
    readonly generation: Word;
    readonly parties: number;
  }) {
    this.#arrived = options.arrived;
    this.#generation = options.generation;
    this.#parties = options.parties;
  }

  /** Returns once all parties have arrived. The last one resets the count before it lets the others go. */
  *arrive(): Op<void> {
    const generation = yield* load32(this.#generation, Order.acquire);
    const before = yield* add32(this.#arrived, 1, Order.full);
    if (before + 1 === this.#parties) {
      yield* store32(this.#arrived, 0, Order.once);
      yield* signalAdd32(this.#generation, 1, Order.release);
      return;
    }
    while ((yield* load32(this.#generation, Order.acquire)) === generation) {
      yield* wait(this.#generation, generation);
    }
  }
}
