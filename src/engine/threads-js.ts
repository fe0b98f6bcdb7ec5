/**
 * The reference port of engine `threads`: the same operations by JavaScript's own `Atomics`, BigInt for 64 bits. Slower
 * and obviously right; the same tests run on both.
 */
import type { Attachment, Word } from './port.ts';
import { attachCommon, wake } from './threads-common.ts';

export { Barrier, Order, PIN, REFERENCES, Stop, Stopped, type Op, type Word } from './port.ts';
export {
  barrier,
  choose,
  copy,
  count,
  counted,
  drive,
  event,
  now,
  read32,
  retryWhen,
  tally,
  wait,
  write32,
} from './threads-common.ts';

let words: Int32Array = new Int32Array(0);
let longs: BigUint64Array = new BigUint64Array(0);
let highHalf = 0;

/** Binds this thread to the memory of a run. */
export function attach(attachment: Attachment): void {
  attachCommon(attachment);
  words = new Int32Array(attachment.memory.buffer);
  longs = new BigUint64Array(attachment.memory.buffer);
}

export function load32(at: Word, _order: number): number {
  return Atomics.load(words, at >>> 2);
}

export function store32(at: Word, value: number, _order: number): void {
  Atomics.store(words, at >>> 2, value | 0);
}

export function add32(at: Word, delta: number, _order: number): number {
  return Atomics.add(words, at >>> 2, delta);
}

export function addUnlessZero32(at: Word, delta: number, _order: number): boolean {
  const index = at >>> 2;
  for (;;) {
    const count = Atomics.load(words, index);
    if (count === 0) return false;
    if (Atomics.compareExchange(words, index, count, count + delta) === count) return true;
  }
}

export function or32(at: Word, bits: number, _order: number): number {
  return Atomics.or(words, at >>> 2, bits);
}

export function cas32(at: Word, expected: number, value: number, _order: number): boolean {
  return Atomics.compareExchange(words, at >>> 2, expected | 0, value | 0) === (expected | 0);
}

export function load64(at: Word, _order: number): number {
  const value = Atomics.load(longs, at / 8);
  highHalf = Number(value >> 32n) | 0;
  return Number(value & 0xffffffffn) | 0;
}

export function high(): number {
  return highHalf;
}

export function store64(at: Word, lo: number, hi: number, _order: number): void {
  Atomics.store(longs, at / 8, pair(lo, hi));
}

export function cas64(
  at: Word,
  expectedLo: number,
  expectedHi: number,
  lo: number,
  hi: number,
  _order: number,
): boolean {
  const expected = pair(expectedLo, expectedHi);
  return Atomics.compareExchange(longs, at / 8, expected, pair(lo, hi)) === expected;
}

export function signal32(at: Word, value: number, _order: number): void {
  Atomics.store(words, at >>> 2, value | 0);
  if (Atomics.load(words, (at >>> 2) + 1) !== 0) wake(at);
}

export function signalAdd32(at: Word, delta: number, _order: number): number {
  const before = Atomics.add(words, at >>> 2, delta);
  if (Atomics.load(words, (at >>> 2) + 1) !== 0) wake(at);
  return before;
}

export function fill(at: Word, bytes: number, value: number): void {
  words.fill(Math.imul(value, 0x01010101), at >>> 2, (at + bytes) / 4);
}

function pair(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
