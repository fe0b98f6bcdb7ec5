/**
 * Events: what checkers and digests see. One fixed record of eight 32-bit words per event; see `RECORD`.
 */

/** What happened. The first group are operations of the port, the second meaningful moments that the core names. */
export const EventKind = {
  load32: 1,
  store32: 2,
  add32: 3,
  or32: 4,
  cas32: 5,
  load64: 6,
  store64: 7,
  cas64: 8,
  barrier: 9,
  fill: 10,
  wait: 11,
  signal: 12,
  retryWhen: 13,
  choose: 14,
  read32: 15,
  write32: 16,
  copy: 17,

  lockAcquired: 32,
  lockReleased: 33,
  faultBegin: 34,
  faultEnd: 35,
  walkBegin: 36,
  walkEnd: 37,
  tlbi: 38,
  tlbiPerformed: 39,
  dsbComplete: 40,
  frameAlloc: 41,
  frameFree: 42,
  notifierStart: 43,
  notifierEnd: 44,
  dirtySet: 45,
  guestAccess: 46,
  dcacheClean: 47,
  icacheInvalidate: 48,
  /** The agent may sleep here. */
  mightSleep: 49,
  guestEnter: 50,
  guestExit: 51,
  tlbFill: 52,
  tlbUse: 53,
  /** Of one CPU alone, by IPA. */
  tlbiLocal: 54,
} as const;
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

/** Second operand of `lockAcquired` and `lockReleased`. */
export const LockMode = { exclusive: 0, shared: 1 } as const;

/** Index of each field in an event record. `newLo`/`newHi` repeat the old value where nothing was written. */
export const RECORD = {
  sequence: 0,
  /** Agent in bits 31:16, kind in bits 15:0. */
  agentAndKind: 1,
  location: 2,
  oldLo: 3,
  oldHi: 4,
  newLo: 5,
  newHi: 6,
  /** Ordering label, barrier kind, or a second operand. */
  extra: 7,
  words: 8,
} as const;

/** Whether one event came before another, by their numbers: those wrap at 2^32, and a run on threads comes that far. */
export function isBefore(sequence: number, other: number): boolean {
  return ((sequence - other) | 0) < 0;
}

/** A passive automaton over the stream of events. */
export interface EventSink {
  /** `record` is reused: copy what must be kept. */
  onEvent(record: Int32Array): void;
}

/**
 * A running 64-bit fingerprint of an event stream: equal streams give equal digests. Two multiplicative 32-bit lanes; it
 * detects differences of schedules and is no cryptographic hash.
 */
export class EventDigest implements EventSink {
  #a = 0x243f6a88;
  #b = 0x85a308d3 | 0;

  onEvent(record: Int32Array): void {
    let a = this.#a;
    let b = this.#b;
    for (let i = 0; i < RECORD.words; i++) {
      const word = record[i] as number;
      a = Math.imul(a ^ word, 0x9e3779b1);
      a ^= a >>> 15;
      b = Math.imul(b + word, 0x85ebca6b);
      b ^= b >>> 13;
    }
    this.#a = a;
    this.#b = b ^ a;
  }

  /** Sixteen hexadecimal digits. */
  hex(): string {
    return half(this.#a) + half(this.#b);
  }
}

function half(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}
