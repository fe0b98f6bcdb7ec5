/**
 * The port: every access that the core makes to shared simulated state, declared once.
 *
 * Three kinds of operations:
 *  - *atomic* ones return an {@link Op} and are reached with `yield*`: a scheduling point, an event and an ordering label;
 *  - *plain* ones touch words that a lock or an owner protects: an event for the race checker, no scheduling point;
 *  - *statistics* are neither: counters that no decision of the core depends on.
 *
 * Goals: one interface for the engines `explore` (generators) and `threads`, traced or not (plain functions, checked as `Stripped<Port>`).
 * Non-goals: weak memory. Every engine runs sequentially consistent; labels are for checkers.
 */

/** Byte offset of a word in the shared memory: a multiple of 4, of 8 for a 64-bit word; below 2^32. */
export type Word = number;

/** An operation of the core: it may let another agent run, then gives a `T`. */
export type Op<T> = Generator<undefined, T, void>;

/** Ordering label of an access, in the kernel's words; an engine may not weaken it, a checker reads it. */
export const Order = {
  /** READ_ONCE / WRITE_ONCE: single-copy atomic, orders nothing else. */
  once: 0,
  acquire: 1,
  release: 2,
  /** Acquire and release, as a fully ordered read-modify-write. */
  full: 3,
} as const;
export type Order = (typeof Order)[keyof typeof Order];

/** Barriers of the Arm architecture (Arm ARM B2.3) that the core names; no-ops on a sequentially consistent engine. */
export const Barrier = { dmb: 0, dsbIshst: 1, dsbIsh: 2, dsbNsh: 3, isb: 4 } as const;
export type Barrier = (typeof Barrier)[keyof typeof Barrier];

/** `seen` of an addition to a reference count: whether there was one before it is taken; before it is dropped, whether there was another. */
export const REFERENCES: number = 1 << 30;
/**
 * One in the upper field of a reference count. Pins are references that last only as long as what their holder does with the object; below them
 * the count has those that keep it, which stay below a million; there are at most 2,047 pins, as an agent has one at a time.
 */
export const PIN: number = 1 << 20;

/** Values of the stop word. */
export const Stop = {
  running: 0,
  /** The run has to end now: every wait throws {@link Stopped}. */
  abort: 1,
} as const;

/** Thrown out of a wait when the run was told to stop. No lock is released: the run is over. */
export class Stopped extends Error {
  constructor() {
    super('the run was stopped');
    this.name = 'Stopped';
  }
}

/**
 * The operations. A word given to `wait` is a *waitable* word: 8 bytes, the value and then a count of sleepers that belongs
 * to the engine; it is written only by `signal32` and `signalAdd32`, which wake who waits.
 */
export interface Port {
  // Atomic.
  load32(at: Word, order: Order): Op<number>;
  store32(at: Word, value: number, order: Order): Op<void>;
  /**
   * Gives the value before the addition. Counts wrap at 2^32. `seen`: the bits of it that the caller looks at, all by default; others may
   * be anything; for {@link REFERENCES}, 1 stands for more where one is taken, one above what is dropped for more where one is dropped. Additions that do not change what each other's callers see can change places.
   *
   * `busy`: who comes to a lock waits for its turn if any of these bits was set before, and does nothing else until then. When it came
   * shows to none but a holder that loads the word: an exhaustive exploration may have it come once no such bit is set.
   */
  add32(at: Word, delta: number, order: Order, seen?: number, busy?: number): Op<number>;
  /** Takes a reference (`delta` 1 or {@link PIN}), where there is one to begin with: adds to a count unless it is 0. Whether it did. */
  addUnlessZero32(at: Word, delta: number, order: Order): Op<boolean>;
  /** Gives the value before; `seen` as of `add32`. Bits that are set can change places if neither caller looks at the other's. */
  or32(at: Word, bits: number, order: Order, seen?: number): Op<number>;
  cas32(at: Word, expected: number, value: number, order: Order): Op<boolean>;
  /** One atomic 64-bit load: gives bits 31:0, `high()` gives bits 63:32 until the agent's next operation. */
  load64(at: Word, order: Order): Op<number>;
  store64(at: Word, lo: number, hi: number, order: Order): Op<void>;
  cas64(
    at: Word,
    expectedLo: number,
    expectedHi: number,
    lo: number,
    hi: number,
    order: Order,
  ): Op<boolean>;
  barrier(kind: Barrier): Op<void>;
  /** Fills `bytes` bytes, a multiple of 4, with the byte `value`: one operation on the frame. */
  fill(at: Word, bytes: number, value: number): Op<void>;
  /** Copies `bytes` bytes, a multiple of 4, to a place that does not overlap: one operation on the frame. */
  copy(to: Word, from: Word, bytes: number): Op<void>;
  /** Futex semantics: returns once the word differs from `seen`, or spuriously; throws {@link Stopped} on stop. */
  wait(at: Word, seen: number): Op<void>;
  /** Stores to a waitable word and wakes its waiters. Pairs with `wait`. */
  signal32(at: Word, value: number, order: Order): Op<void>;
  /** Adds to a waitable word and wakes its waiters; gives the value before. Pairs with `wait`. */
  signalAdd32(at: Word, delta: number, order: Order): Op<number>;
  /**
   * For a retry that ends outside a lock: the caller goes back to the guest and would fault again until the word differs.
   * `threads` returns at once; `explore` keeps the agent off the runnable set until then.
   */
  retryWhen(at: Word, seen: number): Op<void>;
  /** The only nondeterminism: a number in 0..n-1, recorded in the schedule. */
  choose(n: number): Op<number>;

  // Plain.
  /** High half of the last `load64` of this agent. */
  high(): number;
  read32(at: Word): number;
  write32(at: Word, value: number): void;
  /** A meaningful moment for the checkers; nothing on an untraced engine. `kind` is an `EventKind`. */
  event(kind: number, at: Word, a: number, b: number, c?: number, d?: number, e?: number): void;

  // Statistics.
  /** Adds to the 64-bit float counter at `offset` bytes into this agent's statistics block. */
  count(offset: number, n: number): void;
  /** Reads that counter. */
  counted(offset: number): number;
  /** Adds one to the 32-bit counter at `offset` bytes into this agent's statistics block; gives the count before. */
  tally(offset: number): number;
  /** The clock, nanoseconds; virtual (one per step) under `explore`. */
  now(): number;
}

/** The port as thread engines provide it: operations that have become plain functions. */
export type Stripped<P> = {
  [K in keyof P]: P[K] extends (...args: infer A) => Op<infer R> ? (...args: A) => R : P[K];
};

/** A `WebAssembly.Memory` (thread engines need one, shared), or any buffer under `explore`. */
export interface EngineMemory {
  readonly buffer: ArrayBufferLike;
}

/** What an engine binds itself to: once per task of a worker, once per run under `explore`. */
export interface Attachment {
  readonly memory: EngineMemory;
  /** Seed of this agent's `choose`. */
  readonly seed: number;
  /** Byte offset of this agent's statistics block, a multiple of 8. */
  readonly statistics: Word;
  /** The stop word (see {@link Stop}). */
  readonly stop: Word;
  /** Where the traced engine records what this agent does; means nothing to the others. */
  readonly trace?: Trace | undefined;
}

/** An agent's end of a trace (see `trace-ring.ts`). */
export interface Trace {
  readonly ring: SharedArrayBuffer;
  /** As records name it. */
  readonly agent: number;
}
