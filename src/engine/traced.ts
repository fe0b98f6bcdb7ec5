/**
 * The port of the traced engine: as `threads`, but each access and its event record are one step under one lock (`trace-writer.ts`), so that
 * checkers see what threads did in the order in which they did it. The records are those of `explore`, but for plain reads.
 *
 * Accesses are plain: the lock orders them, and gives each 64-bit one its two halves at once. Only words that somebody waits for are written
 * atomically, as a waiter looks at them without the lock. Plain reads are not recorded: they are four in five operations, mostly of lookups in
 * TLBs, and no checker learns anything from them.
 *
 * A moment (`event`) is a record by itself: others' records may stand between it and the access before. What that means for each kind is
 * written in docs/traced.md.
 */
import { EventKind } from './events.ts';
import type { Attachment, Word } from './port.ts';
import * as common from './threads-common.ts';
import { TraceWriter } from './trace-writer.ts';

export { Barrier, Order, PIN, REFERENCES, Stop, Stopped, type Op, type Word } from './port.ts';
export { count, counted, drive, now, read32, tally } from './threads-common.ts';

let words: Int32Array = new Int32Array(0);
let writer: TraceWriter;
let highHalf = 0;

/** Binds this thread to the memory and the trace of a run. */
export function attach(attachment: Attachment): void {
  common.attachCommon(attachment);
  words = new Int32Array(attachment.memory.buffer);
  writer = new TraceWriter(attachment);
}

export function load32(at: Word, order: number): number {
  writer.begin();
  const value = words[at >>> 2] as number;
  writer.end(EventKind.load32, at, value, 0, value, 0, order);
  return value;
}

export function store32(at: Word, value: number, order: number): void {
  writer.begin();
  put32(EventKind.store32, at, value, order);
}

/** Gives the whole value: what the caller does not look at matters to no checker. */
export function add32(at: Word, delta: number, order: number, _seen?: number): number {
  writer.begin();
  return put32(EventKind.add32, at, (words[at >>> 2] as number) + delta, order);
}

export function addUnlessZero32(at: Word, delta: number, order: number): boolean {
  writer.begin();
  const count = words[at >>> 2] as number;
  if (count === 0) writer.end(EventKind.load32, at, 0, 0, 0, 0, order);
  else put32(EventKind.add32, at, count + delta, order);
  return count !== 0;
}

export function or32(at: Word, bits: number, order: number): number {
  writer.begin();
  return put32(EventKind.or32, at, (words[at >>> 2] as number) | bits, order);
}

export function cas32(at: Word, expected: number, value: number, order: number): boolean {
  writer.begin();
  const old = words[at >>> 2] as number;
  const isEqual = old === (expected | 0);
  put32(EventKind.cas32, at, isEqual ? value : old, order);
  return isEqual;
}

export function load64(at: Word, order: number): number {
  writer.begin();
  const lo = words[at >>> 2] as number;
  highHalf = words[(at >>> 2) + 1] as number;
  writer.end(EventKind.load64, at, lo, highHalf, lo, highHalf, order);
  return lo;
}

export function high(): number {
  return highHalf;
}

export function store64(at: Word, lo: number, hi: number, order: number): void {
  writer.begin();
  put64(EventKind.store64, at, lo, hi, order);
}

export function cas64(
  at: Word,
  expectedLo: number,
  expectedHi: number,
  lo: number,
  hi: number,
  order: number,
): boolean {
  writer.begin();
  const oldLo = words[at >>> 2] as number;
  const oldHi = words[(at >>> 2) + 1] as number;
  const isEqual = oldLo === (expectedLo | 0) && oldHi === (expectedHi | 0);
  put64(EventKind.cas64, at, isEqual ? lo : oldLo, isEqual ? hi : oldHi, order);
  return isEqual;
}

export function barrier(kind: number): void {
  writer.begin();
  writer.end(EventKind.barrier, 0, 0, 0, 0, 0, kind);
}

export function fill(at: Word, bytes: number, value: number): void {
  writer.begin();
  words.fill(Math.imul(value, 0x01010101), at >>> 2, (at + bytes) / 4);
  writer.end(EventKind.fill, at, 0, 0, value, 0, bytes);
}

export function copy(to: Word, from: Word, bytes: number): void {
  writer.begin();
  common.copy(to, from, bytes);
  writer.end(EventKind.copy, to, from, 0, from, 0, bytes);
}

/** The record says that somebody is about to wait; looking and sleeping come after it. */
export function wait(at: Word, seen: number): void {
  writer.begin();
  writer.end(EventKind.wait, at, seen, 0, seen, 0, 0);
  common.wait(at, seen);
}

export function signal32(at: Word, value: number, order: number): void {
  writer.begin();
  putSignalled(at, value, order);
}

export function signalAdd32(at: Word, delta: number, order: number): number {
  writer.begin();
  return putSignalled(at, (words[at >>> 2] as number) + delta, order);
}

export function retryWhen(at: Word, seen: number): void {
  writer.begin();
  writer.end(EventKind.retryWhen, at, seen, 0, seen, 0, 0);
}

export function choose(n: number): number {
  writer.begin();
  const chosen = common.choose(n);
  writer.end(EventKind.choose, 0, 0, 0, chosen, 0, n);
  return chosen;
}

export function write32(at: Word, value: number): void {
  writer.begin();
  put32(EventKind.write32, at, value, 0);
}

export function event(kind: number, at: Word, a: number, b: number, c = 0, d = 0, e = 0): void {
  writer.begin();
  writer.end(kind, at, c, d, a, b, e);
}

/** The rest of a step that writes; gives the value before. */
function put32(kind: EventKind, at: Word, value: number, order: number): number {
  const index = at >>> 2;
  const old = words[index] as number;
  words[index] = value;
  writer.end(kind, at, old, 0, value, 0, order);
  return old;
}

function put64(kind: EventKind, at: Word, lo: number, hi: number, order: number): void {
  const index = at >>> 2;
  const oldLo = words[index] as number;
  const oldHi = words[index + 1] as number;
  words[index] = lo;
  words[index + 1] = hi;
  writer.end(kind, at, oldLo, oldHi, lo, hi, order);
}

/** The word first, then the count of sleepers: see `wait` of threads-common.ts. */
function putSignalled(at: Word, value: number, order: number): number {
  const index = at >>> 2;
  const old = words[index] as number;
  Atomics.store(words, index, value);
  writer.end(EventKind.signal, at, old, 0, value, 0, order);
  if (Atomics.load(words, index + 1) !== 0) common.wake(at);
  return old;
}
