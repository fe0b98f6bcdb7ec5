/**
 * The host's run queue: which task runs on which CPU; most are vCPUs. A task that finds no CPU free lines up, and the next one that gives a CPU up
 * hands it to the first in line, so that vCPUs move between CPUs. Everything but the grants stands under one lock.
 */
import { Order, load32, read32, signal32, store32, wait, write32, type Op, type Word } from '#port';
import type { SpinLock } from '../locking/spin-lock.ts';

/** Where the queue lives: zeroed words. */
export interface RunQueueLayout {
  readonly cpus: number;
  /** vCPUs, and whoever else needs a CPU: the numbers below this. */
  readonly tasks: number;
  /** Tasks that have lined up, ever; 4 bytes on, those that were served. */
  readonly line: Word;
  /** A word per CPU: 1 while a task has it. */
  readonly busy: Word;
  /** A word per place in line: the task that stands there. */
  readonly places: Word;
  /** {@link GRANT_BYTES} per task: waitable; the CPU it was handed, plus 1. */
  readonly grants: Word;
}

/** Bytes of a grant: on a line of its own. */
export const GRANT_BYTES = 128;
const SERVED = 4;

export class RunQueue {
  readonly #layout: RunQueueLayout;
  readonly #lock: SpinLock;

  constructor(layout: RunQueueLayout, lock: SpinLock) {
    this.#layout = layout;
    this.#lock = lock;
  }

  /** A CPU for `task`: `last`, where it ran before, if that is free, or another. Waits in line for one. */
  *take(task: number, last: number): Op<number> {
    yield* this.#lock.lock();
    const free = this.#free(last);
    if (free === null) yield* this.#lineUpLocked(task);
    else write32(this.#busyWord(free), 1);
    yield* this.#lock.unlock();
    return free ?? (yield* this.#granted(task));
  }

  /** Gives a CPU to the first in line, or to nobody. */
  *give(cpu: number): Op<void> {
    const { line, grants } = this.#layout;
    yield* this.#lock.lock();
    const served = read32(line + SERVED);
    if (served === read32(line)) write32(this.#busyWord(cpu), 0);
    else {
      const task = read32(this.#placeOf(served));
      yield* store32(line + SERVED, (served + 1) | 0, Order.once);
      yield* signal32(grants + task * GRANT_BYTES, cpu + 1, Order.release);
    }
    yield* this.#lock.unlock();
  }

  /** Whether a task waits for a CPU. A guess: nobody is kept from coming or going. */
  *isContended(): Op<boolean> {
    const { line } = this.#layout;
    const served = yield* load32(line + SERVED, Order.once);
    return (yield* load32(line, Order.once)) !== served;
  }

  *#lineUpLocked(task: number): Op<void> {
    const { line, grants } = this.#layout;
    yield* signal32(grants + task * GRANT_BYTES, 0, Order.once);
    const arrived = read32(line);
    write32(this.#placeOf(arrived), task);
    yield* store32(line, (arrived + 1) | 0, Order.once);
  }

  *#granted(task: number): Op<number> {
    const grant = this.#layout.grants + task * GRANT_BYTES;
    let cpu = yield* load32(grant, Order.acquire);
    while (cpu === 0) {
      yield* wait(grant, 0);
      cpu = yield* load32(grant, Order.acquire);
    }
    return cpu - 1;
  }

  #free(last: number): number | null {
    if (read32(this.#busyWord(last)) === 0) return last;
    for (let cpu = 0; cpu < this.#layout.cpus; cpu++) {
      if (read32(this.#busyWord(cpu)) === 0) return cpu;
    }
    return null;
  }

  #busyWord(cpu: number): Word {
    return this.#layout.busy + cpu * 4;
  }

  /** Tasks wait once each, so as many places as tasks are enough; counts wrap at 2^32, a multiple of the power of two above. */
  #placeOf(arrival: number): Word {
    return this.#layout.places + (arrival & (placesOf(this.#layout.tasks) - 1)) * 4;
  }
}

/** Places in the line: a power of two. */
export function placesOf(tasks: number): number {
  let places = 1;
  while (places < tasks) places *= 2;
  return places;
}
