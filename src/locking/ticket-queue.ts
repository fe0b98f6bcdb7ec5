/**
 * A FIFO queue of agents, one of which is at its turn: what exclusive locks are. An array-based queue lock (Anderson, "The performance
 * of spin lock alternatives", 1990): a ticket names a slot, each waiter waits on the line of its own slot, so leaving wakes exactly the
 * next in line.
 *
 * Deviations from the paper: the word of tickets also counts who is in line, so that coming and leaving alone are one addition each and
 * touch no slot; and a waiter blocks through the port. The kernel's queued spin lock (Mellor-Crummey and Scott's list, behind a pending
 * bit) promises the same: first come, first served, a line of its own for each waiter. Its list saves an array for each lock, which
 * costs it a wait for the successor to link itself; here an agent knows its place as soon as it has drawn.
 *
 * One object per agent: the ticket it holds is the agent's own.
 */
import { Order, add32, load32, type Op, type Word } from '#port';
import type { LockAccount } from './lock-account.ts';
import { LINE_BYTES, TurnSlots } from './turn-slots.ts';

/** Fields of the word: agents in line, the one at its turn included; tickets drawn, above, which wrap off the top. */
const IN_LINE = 0xffff;
const TICKET_SHIFT = 16;
const ALL = ~0;
/** Comes into line and draws a ticket, in one addition. */
const DRAW = (1 << TICKET_SHIFT) | 1;

export class TicketQueue {
  readonly at: Word;
  readonly #slots: TurnSlots;
  /** The ticket that this agent drew last, 16 bits. */
  ticket = 0;

  /** Bytes of shared memory for up to `agents` contenders, at most 65,535: a multiple of a line. */
  static bytes(agents: number): number {
    return LINE_BYTES + TurnSlots.bytes(agents);
  }

  /** `at`: zeroed memory of `TicketQueue.bytes(agents)` bytes, aligned to a line. */
  constructor(at: Word, agents: number) {
    this.at = at;
    this.#slots = new TurnSlots(at + LINE_BYTES, agents);
  }

  /** Lines up and returns at this agent's turn. Gives whether it had to wait: then a wait has begun in `account`. */
  *enter(account: LockAccount): Op<boolean> {
    const before = yield* add32(this.at, DRAW, Order.acquire, ALL, IN_LINE);
    this.ticket = before >>> TICKET_SHIFT;
    if ((before & IN_LINE) === 0) return false;
    account.waits();
    yield* this.#slots.await(this.ticket);
    return true;
  }

  /**
   * Ends this agent's turn. The addition tells whether anybody is behind, as that of `enter` tells whether anybody is in front: of two
   * agents that come and leave at once one sees the other.
   */
  *leave(): Op<void> {
    const before = yield* add32(this.at, -1, Order.release);
    if ((before & IN_LINE) > 1) yield* this.#slots.grant(this.ticket + 1);
  }

  /** During this agent's turn: whether another one stands in line behind it. */
  *isContended(): Op<boolean> {
    return ((yield* load32(this.at, Order.once)) & IN_LINE) > 1;
  }
}
