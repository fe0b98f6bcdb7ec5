/**
 * The port of engine `threads`: WebAssembly atomics on the shared memory. They are inlined calls where `Atomics` are builtin
 * calls, and they take a 64-bit value as two halves where `Atomics` take a BigInt.
 */
import { ATOMICS_BASE64 } from './atomics-wasm.ts';
import type { Attachment, EngineMemory, Word } from './port.ts';
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

interface Atomics64 {
  load32(at: number): number;
  store32(at: number, value: number): void;
  add32(at: number, delta: number): number;
  or32(at: number, bits: number): number;
  cas32(at: number, expected: number, value: number): number;
  signal32(at: number, value: number): number;
  load64(at: number): number;
  high(): number;
  store64(at: number, lo: number, hi: number): void;
  fill(at: number, bytes: number, value: number): void;
  cas64(at: number, expectedLo: number, expectedHi: number, lo: number, hi: number): number;
}

const compiled = new WebAssembly.Module(Uint8Array.fromBase64(ATOMICS_BASE64));
let bound: EngineMemory | null = null;
let wasm: Atomics64;

/** Binds this thread to the memory of a run. */
export function attach(attachment: Attachment): void {
  attachCommon(attachment);
  const { memory } = attachment;
  // One instance per memory: calls into a new instance's functions would have to be optimised anew.
  if (memory === bound) return;
  bound = memory;
  const instance = new WebAssembly.Instance(compiled, { engine: { memory } });
  wasm = instance.exports as unknown as Atomics64;
}

export function load32(at: Word, _order: number): number {
  return wasm.load32(at);
}

export function store32(at: Word, value: number, _order: number): void {
  wasm.store32(at, value);
}

export function add32(at: Word, delta: number, _order: number): number {
  return wasm.add32(at, delta);
}

export function addUnlessZero32(at: Word, delta: number, _order: number): boolean {
  for (;;) {
    const count = wasm.load32(at);
    if (count === 0) return false;
    if (wasm.cas32(at, count, count + delta) !== 0) return true;
  }
}

export function or32(at: Word, bits: number, _order: number): number {
  return wasm.or32(at, bits);
}

export function cas32(at: Word, expected: number, value: number, _order: number): boolean {
  return wasm.cas32(at, expected, value) !== 0;
}

export function load64(at: Word, _order: number): number {
  return wasm.load64(at);
}

export function high(): number {
  return wasm.high();
}

export function store64(at: Word, lo: number, hi: number, _order: number): void {
  wasm.store64(at, lo, hi);
}

export function cas64(
  at: Word,
  expectedLo: number,
  expectedHi: number,
  lo: number,
  hi: number,
  _order: number,
): boolean {
  return wasm.cas64(at, expectedLo, expectedHi, lo, hi) !== 0;
}

export function signal32(at: Word, value: number, _order: number): void {
  if (wasm.signal32(at, value) !== 0) wake(at);
}

export function signalAdd32(at: Word, delta: number, _order: number): number {
  const before = wasm.add32(at, delta);
  if (wasm.load32(at + 4) !== 0) wake(at);
  return before;
}

export function fill(at: Word, bytes: number, value: number): void {
  wasm.fill(at, bytes, value);
}
