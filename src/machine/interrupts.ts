/**
 * Interrupts between CPUs (IPIs) and sections with interrupts off, as far as software relies on them: whoever sends one waits until every CPU
 * has taken it. A CPU with interrupts on, or asleep, takes it at once; one in guest mode at its next access boundary, by leaving the guest;
 * one in a section with interrupts off when the section ends.
 *
 * The protocol is that of TLBI and DSB (tlbi.ts): a count of requests, and an answer that covers the first so many.
 */
import { Order, add32, load32, signal32, store32, wait, type Op, type Word } from '#port';
import { CpuWord } from './cpu-words.ts';
import { answerAfter, hasPerformed, type Interconnect } from './tlbi.ts';

/** Interrupts are on. Off: the number of requests taken before the section began, times two, plus one. */
const INTERRUPTS_ON = 0;

/** One CPU's interrupts, as the agent that runs on it sees them. */
export class Interrupts {
  readonly #state: Word;
  readonly #requests: Word;
  /** Requests taken before the present section. */
  #taken = 0;

  constructor(interconnect: Interconnect, cpu: number) {
    const line = interconnect.answerOf(cpu);
    this.#state = line + CpuWord.interrupts;
    this.#requests = line + CpuWord.requests;
  }

  /**
   * From here on a sender waits. Dekker with `interruptAll`: this stores the state, and what the caller loads then is no older; the sender
   * stores whatever it wants seen, and then loads the state.
   */
  *disable(): Op<void> {
    this.#taken = yield* load32(this.#requests, Order.acquire);
    yield* store32(this.#state, answerAfter(this.#taken), Order.full);
  }

  /** Takes what is pending. Pairs with the wait in `interruptAll`. */
  *enable(): Op<void> {
    yield* signal32(this.#state, INTERRUPTS_ON, Order.release);
  }

  /** In guest mode, with interrupts off for the host: whether the guest has to be left. */
  *isPending(): Op<boolean> {
    return (yield* load32(this.#requests, Order.acquire)) !== this.#taken;
  }
}

/** Interrupts every CPU and waits until each has taken it: none is in the section, or in the guest, in which it was. */
export function* interruptAll(interconnect: Interconnect): Op<void> {
  const { cpus } = interconnect.layout;
  const due: number[] = [];
  for (let cpu = 0; cpu < cpus; cpu++) {
    const requests = interconnect.answerOf(cpu) + CpuWord.requests;
    due.push(((yield* add32(requests, 1, Order.full)) + 1) | 0);
  }
  for (let cpu = 0; cpu < cpus; cpu++) {
    yield* untilTaken(interconnect.answerOf(cpu) + CpuWord.interrupts, due[cpu] as number);
  }
}

function* untilTaken(state: Word, due: number): Op<void> {
  let seen = yield* load32(state, Order.acquire);
  while (seen !== INTERRUPTS_ON && !hasPerformed(seen, due)) {
    yield* wait(state, seen);
    seen = yield* load32(state, Order.acquire);
  }
}
