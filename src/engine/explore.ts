/**
 * The port of engine `explore`: many agents in one thread. Each atomic operation asks the execution whether its agent goes
 * on, yields only for a switch, and then accesses plain memory. Without an execution (`drive` from ordinary code) there
 * is one agent and nothing ever yields.
 */
import { EventKind } from './events.ts';
import type { Execution, ExecutionResult } from './execution.ts';
import { ExploreMemory } from './explore-memory.ts';
import type { Attachment, Barrier, Op, Order, Word } from './port.ts';

import { PIN, REFERENCES } from './port.ts';

export { Barrier, Order, PIN, REFERENCES, Stop, Stopped, type Op, type Word } from './port.ts';

/** What the caller of `add32` or `or32` looks at unless it says otherwise. */
const ALL_BITS = -1;

let memory = new ExploreMemory({ buffer: new ArrayBuffer(0) });
let execution: Execution | null = null;
let ownStatistics: Word = 0;
let highHalf = 0;

/** Binds the engine to the memory of a run. Resets the baseline. */
export function attach(attachment: Attachment): ExploreMemory {
  memory = new ExploreMemory(attachment.memory);
  ownStatistics = attachment.statistics;
  return memory;
}

/** Runs one execution on the attached memory. */
export function explore(run: Execution): ExecutionResult {
  if (execution !== null) throw new Error('an execution is running already');
  execution = run;
  try {
    return run.run();
  } finally {
    execution = null;
  }
}

/** The only crossing from ordinary code into the core: runs `op` alone, to its end. */
export function drive<T>(op: Op<T>): T {
  if (execution !== null) throw new Error('drive was called inside an execution');
  const result = op.next();
  if (result.done !== true)
    throw new Error('a driven operation yielded: it waits for an agent that does not exist');
  return result.value;
}

export function* load32(at: Word, order: Order): Op<number> {
  if (execution !== null && execution.reach(EventKind.load32, at)) yield;
  const value = memory.words[at >>> 2] as number;
  record(EventKind.load32, at, value, 0, value, 0, order);
  return value;
}

export function* store32(at: Word, value: number, order: Order): Op<void> {
  if (execution !== null && execution.reach(EventKind.store32, at)) yield;
  put32(EventKind.store32, at, value, order, false);
}

export function* add32(
  at: Word,
  delta: number,
  order: Order,
  seen: number = ALL_BITS,
  busy = 0,
): Op<number> {
  if (execution !== null && execution.reach(EventKind.add32, at, delta, seen, busy)) yield;
  const sum = (memory.words[at >>> 2] as number) + delta;
  const before = put32(EventKind.add32, at, sum, order, false);
  return seen === REFERENCES ? referencesSeen(before, delta) : before & seen;
}

/** Of a count before `delta`: whether there was a reference, or another one. A pin that is kept company by others than pins is as good as any. */
function referencesSeen(before: number, delta: number): number {
  if (Math.abs(delta) === PIN && (before & (PIN - 1)) !== 0) return PIN + 1;
  return Math.min(before, delta > 0 ? 1 : 1 - delta);
}

export function* addUnlessZero32(at: Word, delta: number, order: Order): Op<boolean> {
  if (execution !== null && execution.reach(EventKind.add32, at, delta, REFERENCES)) yield;
  const before = memory.words[at >>> 2] as number;
  if (before === 0) record(EventKind.load32, at, 0, 0, 0, 0, order);
  else put32(EventKind.add32, at, before + delta, order, false);
  return before !== 0;
}

export function* or32(at: Word, bits: number, order: Order, seen: number = ALL_BITS): Op<number> {
  if (execution !== null && execution.reach(EventKind.or32, at, bits, seen)) yield;
  const all = (memory.words[at >>> 2] as number) | bits;
  return put32(EventKind.or32, at, all, order, false) & seen;
}

export function* cas32(at: Word, expected: number, value: number, order: Order): Op<boolean> {
  if (execution !== null && execution.reach(EventKind.cas32, at, expected)) yield;
  const old = memory.words[at >>> 2] as number;
  const equal = old === (expected | 0);
  if (equal) put32(EventKind.cas32, at, value, order, false);
  else record(EventKind.cas32, at, old, 0, old, 0, order);
  return equal;
}

export function* load64(at: Word, order: Order): Op<number> {
  if (execution !== null && execution.reach(EventKind.load64, at)) yield;
  const lo = memory.words[at >>> 2] as number;
  const hi = memory.words[(at >>> 2) + 1] as number;
  if (execution === null) highHalf = hi;
  else execution.high = hi;
  record(EventKind.load64, at, lo, hi, lo, hi, order);
  return lo;
}

export function high(): number {
  return execution === null ? highHalf : execution.high;
}

export function* store64(at: Word, lo: number, hi: number, order: Order): Op<void> {
  if (execution !== null && execution.reach(EventKind.store64, at)) yield;
  put64(EventKind.store64, at, lo, hi, order);
}

export function* cas64(
  at: Word,
  expectedLo: number,
  expectedHi: number,
  lo: number,
  hi: number,
  order: Order,
): Op<boolean> {
  if (execution !== null && execution.reach(EventKind.cas64, at, expectedLo, expectedHi)) yield;
  const oldLo = memory.words[at >>> 2] as number;
  const oldHi = memory.words[(at >>> 2) + 1] as number;
  const equal = oldLo === (expectedLo | 0) && oldHi === (expectedHi | 0);
  if (equal) put64(EventKind.cas64, at, lo, hi, order);
  else record(EventKind.cas64, at, oldLo, oldHi, oldLo, oldHi, order);
  return equal;
}

export function* barrier(kind: Barrier): Op<void> {
  if (execution !== null && execution.reach(EventKind.barrier, 0)) yield;
  record(EventKind.barrier, 0, 0, 0, 0, 0, kind);
}

export function* fill(at: Word, bytes: number, value: number): Op<void> {
  if (execution !== null && execution.reach(EventKind.fill, at, bytes)) yield;
  memory.noteRange(at, bytes);
  const word = Math.imul(value, 0x01010101);
  memory.words.fill(word, at >>> 2, (at + bytes) / 4);
  record(EventKind.fill, at, 0, 0, value, 0, bytes);
  execution?.rewritten(at, bytes, memory.words);
}

export function* copy(to: Word, from: Word, bytes: number): Op<void> {
  if (execution !== null && execution.reach(EventKind.copy, to, from, bytes)) yield;
  memory.noteRange(to, bytes);
  memory.words.copyWithin(to >>> 2, from >>> 2, (from + bytes) / 4);
  record(EventKind.copy, to, from, 0, from, 0, bytes);
  execution?.rewritten(to, bytes, memory.words);
}

export function* wait(at: Word, seen: number): Op<void> {
  if (execution !== null && execution.reach(EventKind.wait, at, seen)) yield;
  record(EventKind.wait, at, seen, 0, seen, 0, 0);
  if (memory.words[at >>> 2] !== seen) return;
  if (execution !== null) execution.park('waiting');
  yield;
}

export function* signal32(at: Word, value: number, order: Order): Op<void> {
  if (execution !== null && execution.reach(EventKind.signal, at)) yield;
  put32(EventKind.signal, at, value, order, true);
}

export function* signalAdd32(at: Word, delta: number, order: Order): Op<number> {
  if (execution !== null && execution.reach(EventKind.signal, at)) yield;
  return put32(EventKind.signal, at, (memory.words[at >>> 2] as number) + delta, order, true);
}

export function* retryWhen(at: Word, seen: number): Op<void> {
  if (execution !== null && execution.reach(EventKind.retryWhen, at, seen)) yield;
  record(EventKind.retryWhen, at, seen, 0, seen, 0, 0);
  if (execution === null || memory.words[at >>> 2] !== seen) return;
  execution.park('retrying');
  yield;
}

export function* choose(n: number): Op<number> {
  if (execution === null) throw new Error('choose needs a scheduler');
  if (execution.reach(EventKind.choose, 0, n)) yield;
  const chosen = execution.choose(n);
  record(EventKind.choose, 0, 0, 0, chosen, 0, n);
  return chosen;
}

export function read32(at: Word): number {
  const value = memory.words[at >>> 2] as number;
  record(EventKind.read32, at, value, 0, value, 0, 0);
  return value;
}

export function write32(at: Word, value: number): void {
  put32(EventKind.write32, at, value, 0, false);
}

export function event(kind: EventKind, at: Word, a: number, b: number, c = 0, d = 0, e = 0): void {
  record(kind, at, c, d, a, b, e);
}

export function count(offset: number, n: number): void {
  const at = statistics() + offset;
  memory.note(at);
  memory.floats[at / 8] = (memory.floats[at / 8] as number) + n;
}

export function counted(offset: number): number {
  return memory.floats[(statistics() + offset) / 8] as number;
}

export function tally(offset: number): number {
  const at = statistics() + offset;
  memory.note(at);
  const before = memory.words[at >>> 2] as number;
  memory.words[at >>> 2] = before + 1;
  return before;
}

/** Virtual time: one nanosecond a step. */
export function now(): number {
  return execution === null ? 0 : execution.steps;
}

function statistics(): Word {
  return execution === null ? ownStatistics : execution.statistics;
}

/** Writes, records, lets waiters go on; gives the value before. */
function put32(
  kind: EventKind,
  at: Word,
  value: number,
  order: number,
  signalled: boolean,
): number {
  const index = at >>> 2;
  memory.note(at);
  const old = memory.words[index] as number;
  memory.words[index] = value;
  record(kind, at, old, 0, value, 0, order);
  execution?.written(at, value | 0, signalled);
  return old;
}

function put64(kind: EventKind, at: Word, lo: number, hi: number, order: number): void {
  const index = at >>> 2;
  memory.note(at);
  const oldLo = memory.words[index] as number;
  const oldHi = memory.words[index + 1] as number;
  memory.words[index] = lo;
  memory.words[index + 1] = hi;
  record(kind, at, oldLo, oldHi, lo, hi, order);
  execution?.written(at, lo | 0, false);
  execution?.written(at + 4, hi | 0, false);
}

function record(
  kind: EventKind,
  at: Word,
  oldLo: number,
  oldHi: number,
  newLo: number,
  newHi: number,
  extra: number,
): void {
  if (execution !== null) execution.record(kind, at, oldLo, oldHi, newLo, newHi, extra);
}
