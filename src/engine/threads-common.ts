/**
 * What both thread ports share: the binding to the memory, blocking, plain accesses and statistics. Atomics of the hot
 * path are in threads.ts (WebAssembly) and threads-js.ts (the reference).
 */
import { Stop, Stopped, type Attachment, type Word } from './port.ts';
import { GOLDEN, mix } from './splitmix.ts';
import { waiting } from './wait.ts';

/** Turns of a wait that spin before the agent sleeps: some microseconds, several short critical sections. */
const SPINS = 256;
/** A sleeper looks at the stop word at least this often, in milliseconds. */
const SLICE_MS = 50;

let words: Int32Array = new Int32Array(0);
let floats: Float64Array = new Float64Array(0);
let stopWord: Word = 0;
let statistics: Word = 0;
let random = 0;

/** Binds the shared state of the calling thread. */
export function attachCommon(attachment: Attachment): void {
  words = new Int32Array(attachment.memory.buffer);
  floats = new Float64Array(attachment.memory.buffer);
  stopWord = attachment.stop;
  statistics = attachment.statistics;
  random = attachment.seed | 0;
}

/** Spins briefly, then sleeps. A sleeper is flagged in the second half of the waitable word: see {@link wake}. */
export function wait(at: Word, seen: number): void {
  const index = at >>> 2;
  for (let spin = 0; spin < SPINS; spin++) {
    if (Atomics.load(words, index) !== seen) return;
    waiting.pause();
  }
  // The flag is up before the word is looked at again, and the signaller writes the word before it looks at the flag:
  // one of the two sees the other.
  Atomics.add(words, index + 1, 1);
  waiting.wait(words, index, seen, SLICE_MS);
  Atomics.sub(words, index + 1, 1);
  if (Atomics.load(words, stopWord >>> 2) === Stop.abort) throw new Stopped();
}

/** Wakes the sleepers of a waitable word; called by a signal that found the flag up. */
export function wake(at: Word): void {
  Atomics.notify(words, at >>> 2);
}

/** Returns at once: the guest takes the fault again. */
export function retryWhen(_at: Word, _seen: number): void {}

/** Sequentially consistent engine: nothing to do. */
export function barrier(_kind: number): void {}

/** A splitmix32 step of this agent's own generator. */
export function choose(n: number): number {
  random = (random + GOLDEN) | 0;
  return (mix(random) >>> 0) % n;
}

export function copy(to: Word, from: Word, bytes: number): void {
  words.copyWithin(to >>> 2, from >>> 2, (from + bytes) / 4);
}

export function read32(at: Word): number {
  return words[at >>> 2] as number;
}

export function write32(at: Word, value: number): void {
  words[at >>> 2] = value;
}

/** Untraced: nobody listens. */
export function event(
  _kind: number,
  _at: Word,
  _a: number,
  _b: number,
  _c?: number,
  _d?: number,
  _e?: number,
): void {}

export function count(offset: number, n: number): void {
  const index = (statistics + offset) >>> 3;
  floats[index] = (floats[index] as number) + n;
}

export function counted(offset: number): number {
  return floats[(statistics + offset) >>> 3] as number;
}

export function tally(offset: number): number {
  const index = (statistics + offset) >>> 2;
  const before = words[index] as number;
  words[index] = before + 1;
  return before;
}

export function now(): number {
  return performance.now() * 1e6;
}

/** A thread engine's `drive` is the identity: the core has already run. */
export function drive<T>(op: T): T {
  return op;
}
