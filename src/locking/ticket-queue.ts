/**
 * A FIFO queue of agents (Anderson, "The performance of spin lock alternatives", 1990): what the locks of this folder line up in. A
 * ticket names a slot; each waiter waits on its own slot's word, so leaving wakes exactly the next in line.
 *
 * One object per agent: the ticket it holds is the agent's own. Deviation from the paper: a waiter blocks through the port.
 */
import { Order, add32, load32, signal32, wait, type Op, type Word } from '#port';
import type { LockAccount } from './lock-account.ts';

/** Words that different agents write stand on lines of their own. */
export const LINE_BYTES = 128;
const SLOT_BYTES = 64;

export class TicketQueue {
  /** Next ticket to be drawn. */
  readonly at: Word;
  readonly #slots: Word;
  readonly #slotMask: number;
  /** The ticket that this agent drew last. */
  ticket = 0;

  /** Bytes of shared memory for up to `agents` contenders, a multiple of a cache line. */
  static bytes(agents: number): number {
    return LINE_BYTES + slotCount(agents) * SLOT_BYTES;
  }

  /** `at`: zeroed memory of `TicketQueue.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number) {
    this.at = at;
    this.#slots = at + LINE_BYTES;
    this.#slotMask = slotCount(agents) - 1;
  }

  /** Lines up and returns at this agent's turn; a wait begins in `account`. */
  *enter(account: LockAccount): Op<void> {
    const ticket = yield* add32(this.at, 1, Order.acquire);
    const slot = this.#slotOf(ticket);
    let seen = yield* load32(slot, Order.acquire);
    while (seen !== ticket) {
      account.waits();
      yield* wait(slot, seen);
      seen = yield* load32(slot, Order.acquire);
    }
    this.ticket = ticket;
  }

  /** Ends this agent's turn. Pairs with the wait in `enter` of the next in line. */
  *leave(): Op<void> {
    const next = (this.ticket + 1) | 0;
    yield* signal32(this.#slotOf(next), next, Order.release);
  }

  /** During this agent's turn: whether another one stands in line behind it. */
  *isContended(): Op<boolean> {
    const next = yield* load32(this.at, Order.once);
    return ((next - this.ticket) | 0) > 1;
  }

  #slotOf(ticket: number): Word {
    return this.#slots + (ticket & this.#slotMask) * SLOT_BYTES;
  }
}

/** Slots: a power of two that no two waiting agents share. */
function slotCount(agents: number): number {
  let slots = 1;
  while (slots < agents) slots *= 2;
  return slots;
}
