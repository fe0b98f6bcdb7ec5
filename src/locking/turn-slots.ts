/**
 * Where agents with consecutive tickets wait for their turn, each on a line of its own: granting a turn wakes its agent and nobody else. A
 * turn may be granted before its agent waits, even before it has drawn its ticket.
 */
import { Order, load32, signal32, wait, type Op, type Word } from '#port';

/** Words that different agents write stand on lines of their own: two cache lines, as processors fetch them in pairs. */
export const LINE_BYTES = 128;

/** Values of a slot. */
const WAITING = 0;
const GRANTED = 1;

export class TurnSlots {
  readonly #at: Word;
  readonly #mask: number;

  /** Bytes of shared memory for up to `agents` agents that hold tickets at once. */
  static bytes(agents: number): number {
    return slotCount(agents) * LINE_BYTES;
  }

  /** `at`: zeroed memory of `TurnSlots.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number) {
    this.#at = at;
    this.#mask = slotCount(agents) - 1;
  }

  /**
   * Returns once the turn of this ticket has been granted, and makes the slot ready for who draws it next: after this turn at the
   * earliest, as there are as many slots as agents. Pairs with `grant`.
   */
  *await(ticket: number): Op<void> {
    const slot = this.#slotOf(ticket);
    // The wait first: it returns at once if the turn was granted, and who looks before it would tell only which of the two came first.
    do yield* wait(slot, WAITING);
    while ((yield* load32(slot, Order.acquire)) === WAITING);
    yield* signal32(slot, WAITING, Order.once);
  }

  *grant(ticket: number): Op<void> {
    yield* signal32(this.#slotOf(ticket), GRANTED, Order.release);
  }

  #slotOf(ticket: number): Word {
    return this.#at + (ticket & this.#mask) * LINE_BYTES;
  }
}

/** A power of two, so that tickets may wrap; no two waiting agents share a slot. */
function slotCount(agents: number): number {
  let slots = 1;
  while (slots < agents) slots *= 2;
  return slots;
}
