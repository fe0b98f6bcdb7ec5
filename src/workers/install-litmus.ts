/**
 * The install litmus: threads that map the same pages, reduced to what they race for. Each fault loads the root; where it is empty, it
 * installs a table by compare-and-swap; then it locks the leaf by compare-and-swap and stores the mapping. Who loses the race for the
 * root goes on with the winner's table, who loses the race for the leaf is done with this fault.
 *
 * Small enough that all interleavings can be counted: the yardstick of the exhaustive strategies.
 */
import { Order, add32, cas32, load32, read32, store32, type Op, type Word } from '#port';

/** `faults`: of each thread, on leaf 0, 1, 2, 0, ... */
export interface InstallLitmus {
  readonly threads: number;
  readonly faults: number;
}

const LEAVES = 3;
const LINE_BYTES = 64;
const ROOT: Word = LINE_BYTES;
/** Table numbers drawn so far; a number is never 0. */
const COUNTER: Word = 2 * LINE_BYTES;
const TABLES: Word = 3 * LINE_BYTES;

const EMPTY = 0;
const LOCKED = -1;

/** A thread draws at most one table number. */
export function installBytes({ threads }: InstallLitmus): number {
  return tableAt(threads + 1);
}

/** The faults of one thread, by their numbers. */
export function* installThread(thread: number, faults: readonly number[]): Op<void> {
  for (const fault of faults) {
    const table = yield* tableOf();
    yield* mapLeaf(leafAt(table, fault % LEAVES), thread);
  }
}

/** Root and leaves: what the litmus is about. */
export function installState({ threads }: InstallLitmus): string {
  const state = [read32(ROOT)];
  for (let table = 1; table <= threads; table++) {
    for (let leaf = 0; leaf < LEAVES; leaf++) state.push(read32(leafAt(table, leaf)));
  }
  return state.join(' ');
}

function* tableOf(): Op<number> {
  const root = yield* load32(ROOT, Order.acquire);
  if (root !== EMPTY) return root;
  const fresh = (yield* add32(COUNTER, 1, Order.once)) + 1;
  if (yield* cas32(ROOT, EMPTY, fresh, Order.release)) return fresh;
  // One agent's compare-and-swap fails only after another's: the root never changes again, so it is no race to look.
  return read32(ROOT);
}

function* mapLeaf(at: Word, thread: number): Op<void> {
  if ((yield* load32(at, Order.acquire)) !== EMPTY) return;
  if (!(yield* cas32(at, EMPTY, LOCKED, Order.acquire))) return;
  yield* store32(at, thread + 1, Order.release);
}

function tableAt(table: number): Word {
  return TABLES + table * LINE_BYTES;
}

function leafAt(table: number, leaf: number): Word {
  return tableAt(table) + leaf * 4;
}
