/**
 * What is known of a slot's dirty log beyond its bitmap: since when the slot logs, and the copy that user space makes of what harvests
 * name. The verification judges by it (src/main/verify/dirty.ts).
 */
import { Order, add32, cas32, store32, type Op, type Word } from '#port';
import type { Layout } from './layout.ts';

/** Bytes of the words of one slot. All start zeroed: a slot that logs from its creation has a copy that equals its memory. */
export const SLOT_LOG_BYTES = 8;

export interface SlotLogLayout {
  /** `words.logEpoch` as the slot's log had begun; 0: since the slot was created, or never. */
  readonly begun: Word;
  /** 1: the copy is of a time before the log began, so the next harvest copies all of the slot. */
  readonly bulkDue: Word;
  /** Contents of each page one after another; null for a slot that nobody harvests. */
  readonly copy: Word | null;
}

export function slotLogWords(at: Word): Pick<SlotLogLayout, 'begun' | 'bulkDue'> {
  return { begun: at, bulkDue: at + 4 };
}

/**
 * Notes that the log of a slot has begun. Nobody writes the slot unseen any more; if the bulk were due before that:
 *  1. logging has been off; a harvester sees that the bulk is due, and copies page 5;
 *  2. vCPU 0 writes page 5, which nobody logs yet;
 *  3. the log begins, with page 5 clean: nobody copies it again.
 */
export function* noteLogBegun({ slotLogs, words }: Layout, slot: number): Op<void> {
  const log = slotLogs[slot];
  if (log === undefined) return;
  const epoch = yield* add32(words.logEpoch, 1, Order.full);
  yield* store32(log.begun, epoch + 1, Order.once);
  yield* store32(log.bulkDue, 1, Order.release);
}

/** Whether the bulk is due; it is the caller's to copy. Pairs with {@link noteLogBegun}. */
export function* takeBulk({ bulkDue }: SlotLogLayout): Op<boolean> {
  return yield* cas32(bulkDue, 1, 0, Order.full);
}
