/**
 * A step of an execution, as far as other steps can depend on it: which words it read or wrote. Two steps of different agents are
 * *dependent* if one writes what the other reads or writes; independent steps that follow each other can change places, and nothing
 * after them differs.
 *
 * Two additions to a word are independent if neither changes the bits of the sum that the other's caller looks at: the sum is the same in
 * both orders. So is the union of bits that are set: setting bits is independent of setting others, and of setting the same, unless a caller looks
 * at what the other sets.
 *
 * References to an object: taking two is independent, and so is dropping two while a third remains: nobody learns which came first. Taking one
 * and dropping one are not, as that may be the last; nor is anything from dropping the last. Of two that were dropped in an execution
 * neither was the last; of two that could be dropped next neither may be the last even after the other.
 *
 * Pins are references in a field of their own. While the field below has one, no pin is the last reference, however many are taken and dropped in
 * whatever order: taking and dropping pins is independent then. The field below changes by steps that are dependent on all of them.
 *
 * What a step does is decided in the state in which it is taken: a compare-and-swap that fails is a read, and so is setting bits that are
 * set if the caller looks at all of them. Barriers and choices touch no word.
 */
import { EventKind } from '../engine/events.ts';
import type { Pending } from '../engine/execution.ts';
import { PIN, REFERENCES, type Word } from '../engine/port.ts';

/** What a step does to its words. */
export const Access = { none: 0, read: 1, write: 2 } as const;
export type Access = (typeof Access)[keyof typeof Access];

/** The operand of `add32` and `or32` if the caller looks at everything. */
const ALL_BITS = -1;

/** A word that `copy` reads from besides: nowhere for all others. */
const NOWHERE = -1;

/** What an operation does to its words, by kind, unless its operands decide. */
const ACCESS_OF = new Uint8Array(256).fill(Access.write);
for (const kind of [EventKind.barrier, EventKind.choose]) ACCESS_OF[kind] = Access.none;
for (const kind of [EventKind.load32, EventKind.load64, EventKind.wait, EventKind.retryWhen]) {
  ACCESS_OF[kind] = Access.read;
}

/** Bytes of an operation, by kind, unless its operands say. */
const BYTES_OF = new Uint8Array(256).fill(4);
for (const kind of [EventKind.load64, EventKind.store64, EventKind.cas64]) BYTES_OF[kind] = 8;

export class Step implements Pending {
  readonly agent: number;
  readonly kind: EventKind;
  readonly at: Word;
  readonly a: number;
  readonly b: number;
  readonly busy: number;
  /** Bytes from `at` on. */
  readonly bytes: number;
  /** Where a copy of as many bytes comes from. */
  readonly source: Word;
  /** The two words at `at` before the step. */
  readonly lo: number;
  readonly hi: number;
  access: Access;
  /** What `choose` gives, if this is one. */
  readonly choice: number;
  /** Nothing runs after it: the agent threw. It depends on everything. */
  isLast = false;

  constructor(
    agent: number,
    { kind, at, a, b, busy }: Pending,
    lo: number,
    hi: number,
    choice: number,
  ) {
    this.agent = agent;
    this.kind = kind;
    this.at = at;
    this.a = a;
    this.b = b;
    this.busy = busy;
    this.bytes = bytesOf(kind, a, b);
    this.source = kind === EventKind.copy ? a : NOWHERE;
    this.lo = lo;
    this.hi = hi;
    this.access = accessOf(this);
    this.choice = choice;
  }

  /** Whether the agent could not take this step: it waits, and the word holds what it saw. */
  get isBlocked(): boolean {
    return isWaiting(this.kind) && this.lo === this.a;
  }

  /** Whether the agent comes to a lock that is taken. */
  get isLate(): boolean {
    return (this.lo & this.busy) !== 0;
  }

  /** The same step as it would be without `other`, which comes before it and which it depends on. */
  without(other: Step): Step {
    if (other.access !== Access.write) return this;
    const lo = wordBefore(other, this.at, this.lo);
    const hi = wordBefore(other, this.at + 4, this.hi);
    const step = new Step(this.agent, this, lo, hi, this.choice);
    // Others of its kind may have come in between: whether a compare-and-swap would succeed is not known.
    if (other.isCommutative && step.access === Access.read && mayChange(step.kind))
      step.access = Access.write;
    return step;
  }

  /** One that others of its kind may change places with. No signal is: who waits may go on after each of them. */
  get isCommutative(): boolean {
    return (this.kind === EventKind.add32 || this.kind === EventKind.or32) && this.b !== ALL_BITS;
  }
}

/** The step that an agent has pending, in the present state of memory. */
export function stepOf(agent: number, pending: Pending, words: Int32Array, choice: number): Step {
  const index = pending.at >>> 2;
  return new Step(agent, pending, words[index] as number, words[index + 1] as number, choice);
}

/** Whether an operation is taken only once its word differs from `a`. */
export function isWaiting(kind: EventKind): boolean {
  return kind === EventKind.wait || kind === EventKind.retryWhen;
}

/** Whether two steps of an execution may not change places. */
export function areDependent(x: Step, y: Step): boolean {
  return depend(x, y, 1);
}

/** Whether it matters which of two steps comes first that could both be next. */
export function areInConflict(x: Step, y: Step): boolean {
  return depend(x, y, 2);
}

/** `left`: references that have to remain after either step if both drop one. */
function depend(x: Step, y: Step, left: number): boolean {
  if (x.agent === y.agent || x.isLast || y.isLast) return true;
  if (x.access === Access.write) return touches(x, y) && !commute(x, y, left);
  return y.access === Access.write && touches(y, x);
}

/** Additions to one word, or settings of its bits, of which neither matters to the other's caller. */
function commute(x: Step, y: Step, left: number): boolean {
  if (!x.isCommutative || !y.isCommutative || x.kind !== y.kind || x.at !== y.at) return false;
  if (x.kind === EventKind.or32) return ((x.a & y.b) | (y.a & x.b)) === 0;
  if (x.b !== REFERENCES && y.b !== REFERENCES) return isUnseen(x.a, y) && isUnseen(y.a, x);
  if (x.b !== y.b) return false;
  if (isPin(x) && isPin(y)) return hasKeeper(x) && hasKeeper(y);
  // Where one is taken there has to be one before; where one is dropped one has to remain.
  return x.a === y.a && Math.min(x.lo, y.lo) > (x.a > 0 ? 0 : left);
}

function isPin({ a }: Step): boolean {
  return Math.abs(a) === PIN;
}

/** Whether there is a reference besides pins. */
function hasKeeper({ lo }: Step): boolean {
  return (lo & (PIN - 1)) !== 0;
}

/**
 * Whether the caller of `step` sees the same with `delta` and without: added, or taken away where it came before the step. The other of the
 * two may carry into bits that are seen; fields that are counted in do not overflow.
 */
function isUnseen(delta: number, { lo, b: seen }: Step): boolean {
  return (((lo + delta) ^ lo) & seen) === 0 || (((lo - delta) ^ lo) & seen) === 0;
}

/** Whether `reader` reads or writes what `writer` writes. */
function touches(writer: Step, reader: Step): boolean {
  if (reader.access === Access.none) return false;
  const { at, bytes } = writer;
  return (
    overlap(at, bytes, reader.at, reader.bytes) ||
    (reader.source !== NOWHERE && overlap(at, bytes, reader.source, reader.bytes)) ||
    (reader.access === Access.write &&
      writer.source !== NOWHERE &&
      overlap(writer.source, bytes, reader.at, reader.bytes))
  );
}

function overlap(a: Word, aBytes: number, b: Word, bBytes: number): boolean {
  return a < b + bBytes && b < a + aBytes;
}

function bytesOf(kind: EventKind, a: number, b: number): number {
  if (kind === EventKind.fill) return a;
  if (kind === EventKind.copy) return b;
  return BYTES_OF[kind] as number;
}

function accessOf({ kind, a, b, lo, hi }: Step): Access {
  const access = ACCESS_OF[kind] as Access;
  return access === Access.write && !changes(kind, a, b, lo, hi) ? Access.read : access;
}

/** Whether the operands decide if an operation writes. */
function mayChange(kind: EventKind): boolean {
  return kind === EventKind.or32 || kind === EventKind.cas32 || kind === EventKind.cas64;
}

function changes(kind: EventKind, a: number, b: number, lo: number, hi: number): boolean {
  // Which of two that set the same bit changed it is not the same in both orders.
  if (kind === EventKind.or32) return b !== ALL_BITS || (lo | a) !== lo;
  if (kind === EventKind.cas32) return lo === (a | 0);
  if (kind === EventKind.cas64) return lo === (a | 0) && hi === (b | 0);
  return true;
}

/** The word at `at`, which is `now` after `step`, as it was before. A whole range that was overwritten is not known: it counts as now. */
export function wordBefore(step: Step, at: Word, now: number): number {
  if (step.bytes > 8 || at < step.at || at >= step.at + step.bytes) return now;
  return at === step.at ? step.lo : step.hi;
}
