/** One list of expectations for all four ports; the project of the run decides which one `#port` is. */
import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import {
  Barrier,
  Order,
  PIN,
  Stop,
  Stopped,
  add32,
  attach,
  barrier,
  cas32,
  cas64,
  choose,
  count,
  counted,
  drive,
  event,
  copy,
  fill,
  high,
  load32,
  load64,
  now,
  addUnlessZero32,
  or32,
  read32,
  retryWhen,
  signal32,
  signalAdd32,
  store32,
  store64,
  tally,
  wait,
  write32,
} from '#port';
import { TraceWord, createRing, resetRing } from '../../src/engine/trace-ring.ts';

const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
const words = new Int32Array(memory.buffer);
const floats = new Float64Array(memory.buffer);
const AT = 64;
const STOP = 8;
const STATISTICS = 0x1_0000;
const MIN = -0x8000_0000;
/** Room for more events than a test makes, which nobody reads. */
const RING_EVENTS = 2 ** 16;
const ring = createRing(RING_EVENTS);
const trace = { ring, agent: 3 } as const;
const isThreads = Object.getPrototypeOf(load32) === Function.prototype;

function attachSeed(seed: number): void {
  attach({ memory, seed, statistics: STATISTICS, stop: STOP, trace });
}

/** The word at `AT`, set behind the port's back. */
function given(value: number, highHalf = 0): void {
  words[AT / 4] = value;
  words[AT / 4 + 1] = highHalf;
}

function found(): readonly number[] {
  return Array.from(words.subarray(AT / 4 - 1, AT / 4 + 3));
}

/** The first choices of an agent with this seed. */
function sequence(seed: number): readonly number[] {
  attachSeed(seed);
  return Array.from({ length: 8 }, () => drive(choose(1000)));
}

beforeEach(() => {
  words.fill(0);
  resetRing(ring);
  new Int32Array(ring)[TraceWord.limit] = RING_EVENTS;
  attachSeed(7);
});

const seeded = { seed: 20_26, numRuns: 300 } as const;
const word = fc.oneof(fc.constantFrom(0, 1, -1, MIN, 0x7fff_ffff), fc.integer());
/** A 32-bit value as a caller may give it: signed or unsigned. */
const argument = fc.oneof(word, fc.constantFrom(0xffff_ffff, 0x8000_0000), fc.nat(0xffff_ffff));

describe('32 bits', () => {
  test('load32 gives the word, signed', () => {
    given(0xffff_fffe);
    expect(drive(load32(AT, Order.acquire))).toBe(-2);
    expect(found()).toEqual([0, -2, 0, 0]);
  });

  test('store32 writes one word', () => {
    drive(store32(AT, 0x8000_0001, Order.release));
    expect(found()).toEqual([0, MIN + 1, 0, 0]);
  });

  test.each([
    [5, 3, 8],
    [5, -7, -2],
    [0x7fff_ffff, 1, MIN],
    [-1, 1, 0],
    [-1, 0xffff_ffff, -2],
    [MIN, -1, 0x7fff_ffff],
  ])('add32: %i and %i make %i, wrapping', (before, delta, after) => {
    given(before, 9);
    expect(drive(add32(AT, delta, Order.once))).toBe(before);
    expect(found()).toEqual([0, after, 9, 0]);
  });

  test('addUnlessZero32: a reference where there is one', () => {
    drive(store32(AT, 0, Order.once));
    expect(drive(addUnlessZero32(AT, 1, Order.full))).toBe(false);
    expect(drive(load32(AT, Order.once))).toBe(0);
    drive(store32(AT, 2, Order.once));
    expect(drive(addUnlessZero32(AT, 1, Order.full))).toBe(true);
    expect(drive(load32(AT, Order.once))).toBe(3);
    expect(drive(addUnlessZero32(AT, PIN, Order.full))).toBe(true);
    expect(drive(load32(AT, Order.once))).toBe(PIN + 3);
  });

  test.each([
    [0b0101, 0b0011, 0b0111],
    [1, 0x8000_0000, MIN + 1],
    [MIN, 0, MIN],
  ])('or32: %i and %i make %i', (before, bits, after) => {
    given(before, 9);
    expect(drive(or32(AT, bits, Order.full))).toBe(before);
    expect(found()).toEqual([0, after, 9, 0]);
  });

  test.each([
    [5, 5, 6, true, 6],
    [5, 4, 6, false, 5],
    [-1, 0xffff_ffff, 0xffff_fffe, true, -2],
    [0, 0, MIN, true, MIN],
  ])('cas32 of %i expecting %i, new %i: %s', (before, expected, value, isSet, after) => {
    given(before, 9);
    expect(drive(cas32(AT, expected, value, Order.full))).toBe(isSet);
    expect(found()).toEqual([0, after, 9, 0]);
  });

  test('agree with two-complement arithmetic', () => {
    fc.assert(
      fc.property(word, argument, argument, (before, a, b) => {
        given(before);
        expect(drive(add32(AT, a, Order.once))).toBe(before);
        expect(drive(load32(AT, Order.once))).toBe(
          Number(BigInt.asIntN(32, BigInt(before) + BigInt(a))),
        );
        given(before);
        expect(drive(or32(AT, a, Order.once))).toBe(before);
        expect(drive(load32(AT, Order.once))).toBe(before | a);
        given(before);
        expect(drive(cas32(AT, a, b, Order.once))).toBe(before === (a | 0));
        expect(drive(load32(AT, Order.once))).toBe(before === (a | 0) ? b | 0 : before);
      }),
      seeded,
    );
  });
});

describe('64 bits', () => {
  test('load64 gives the low half, high() the other; both signed', () => {
    given(0x8000_0000, 0xffff_ffff);
    expect(drive(load64(AT, Order.acquire))).toBe(MIN);
    expect(high()).toBe(-1);
    given(0xffff_ffff, 0x7fff_ffff);
    expect(drive(load64(AT, Order.once))).toBe(-1);
    expect(high()).toBe(0x7fff_ffff);
  });

  test('high() is that of the last load64, whatever was written since', () => {
    given(1, 2);
    drive(load64(AT, Order.once));
    given(3, 4);
    expect(high()).toBe(2);
  });

  test('store64 writes two words', () => {
    drive(store64(AT, 0x8765_4321, 0xfedc_ba98, Order.release));
    expect(found()).toEqual([0, 0x8765_4321 | 0, 0xfedc_ba98 | 0, 0]);
  });

  test.each([
    ['both halves equal', 1, -2, true],
    ['both equal, given unsigned', 1, 0xffff_fffe, true],
    ['another low half', 2, -2, false],
    ['another high half', 1, -3, false],
  ])('cas64 with %s', (_case, lo, hi, isSet) => {
    given(1, -2);
    expect(drive(cas64(AT, lo, hi, 0xffff_ffff, 7, Order.full))).toBe(isSet);
    expect(found()).toEqual(isSet ? [0, -1, 7, 0] : [0, 1, -2, 0]);
  });

  test('halves come back as they went in', () => {
    fc.assert(
      fc.property(argument, argument, argument, (lo, hi, other) => {
        drive(store64(AT, lo, hi, Order.release));
        expect([drive(load64(AT, Order.acquire)), high()]).toEqual([lo | 0, hi | 0]);
        expect(drive(cas64(AT, lo, other, 1, 2, Order.full))).toBe((hi | 0) === (other | 0));
        drive(store64(AT, lo, hi, Order.release));
        expect(drive(cas64(AT, other, hi, 1, 2, Order.full))).toBe((lo | 0) === (other | 0));
        drive(store64(AT, lo, hi, Order.release));
        expect(drive(cas64(AT, lo, hi, other, lo, Order.full))).toBe(true);
        expect(found()).toEqual([0, other | 0, lo | 0, 0]);
      }),
      seeded,
    );
  });
});

describe('waiting', () => {
  test('wait returns at once when the word differs', () => {
    given(1);
    drive(wait(AT, 0));
    expect(found()).toEqual([0, 1, 0, 0]);
  });

  test('signal32 stores, and leaves the count of sleepers alone', () => {
    given(1);
    drive(signal32(AT, 0x8000_0000, Order.release));
    expect(found()).toEqual([0, MIN, 0, 0]);
  });

  test('signalAdd32 adds, wrapping, and gives the value before', () => {
    given(0x7fff_ffff);
    expect(drive(signalAdd32(AT, 2, Order.full))).toBe(0x7fff_ffff);
    expect(found()).toEqual([0, MIN + 1, 0, 0]);
    expect(drive(signalAdd32(AT, -1, Order.full))).toBe(MIN + 1);
    expect(found()).toEqual([0, MIN, 0, 0]);
  });

  test('retryWhen returns without an execution', () => {
    given(3);
    drive(retryWhen(AT, 3));
    drive(retryWhen(AT, 4));
    expect(found()).toEqual([0, 3, 0, 0]);
  });
});

describe('frames and plain words', () => {
  test.each([
    [0, 0],
    [0x5a, 0x5a5a_5a5a],
    [0xff, -1],
  ])('fill with byte %i writes exactly its bytes', (byte, filled) => {
    words.fill(1, 0, 64);
    drive(fill(AT, 12, byte));
    const around = Array.from(words.subarray(AT / 4 - 1, AT / 4 + 4));
    expect(around).toEqual([1, filled, filled, filled, 1]);
  });

  test('copy copies exactly its bytes', () => {
    words.set([1, 2, 3, 4, 5], 0);
    words.fill(9, AT / 4 - 1, AT / 4 + 4);
    drive(copy(AT, 4, 12));
    expect(Array.from(words.subarray(AT / 4 - 1, AT / 4 + 4))).toEqual([9, 2, 3, 4, 9]);
  });

  test('read32 and write32 access one word', () => {
    write32(AT, 0xffff_fff0);
    expect(found()).toEqual([0, -16, 0, 0]);
    given(-5);
    expect(read32(AT)).toBe(-5);
  });

  test('a barrier and an event change nothing', () => {
    drive(barrier(Barrier.dsbIsh));
    event(32, AT, 1, 2);
    expect(words.every((value) => value === 0)).toBe(true);
  });
});

test('attach binds to the memory it is given, and back', () => {
  const other = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  attach({ memory: other, seed: 7, statistics: 0, stop: STOP, trace });
  drive(store64(AT, 1, 2, Order.release));
  write32(AT + 8, 3);
  expect(found()).toEqual([0, 0, 0, 0]);
  expect(Array.from(new Int32Array(other.buffer, AT, 3))).toEqual([1, 2, 3]);
  attachSeed(7);
  drive(store64(AT, 4, 5, Order.release));
  expect(found()).toEqual([0, 4, 5, 0]);
  expect(read32(AT)).toBe(4);
});

describe('statistics', () => {
  test('count adds to a float of this agent and counted reads it', () => {
    count(16, 2.5);
    count(16, 2 ** 40);
    expect(counted(16)).toBe(2 ** 40 + 2.5);
    expect(floats[(STATISTICS + 16) / 8]).toBe(2 ** 40 + 2.5);
    expect(counted(8)).toBe(0);
    expect(counted(24)).toBe(0);
  });

  test('tally adds one to a word of this agent', () => {
    tally(36);
    tally(36);
    expect(Array.from(words.subarray((STATISTICS + 32) / 4, (STATISTICS + 44) / 4))).toEqual([
      0, 2, 0,
    ]);
  });

  test('attach names the block', () => {
    attach({ memory, seed: 7, statistics: STATISTICS + 64, stop: STOP, trace });
    count(0, 1);
    tally(8);
    expect(floats[(STATISTICS + 64) / 8]).toBe(1);
    expect(words[(STATISTICS + 72) / 4]).toBe(1);
    expect(floats[STATISTICS / 8]).toBe(0);
  });

  test('the clock does not run back', () => {
    const before = now();
    expect(now()).toBeGreaterThanOrEqual(before);
  });
});

describe.runIf(isThreads)('on threads', () => {
  test('choose stays below n, and reaches all of it', () => {
    const chosen = Array.from({ length: 400 }, () => drive(choose(5)));
    expect(new Set(chosen)).toEqual(new Set([0, 1, 2, 3, 4]));
    expect(drive(choose(1))).toBe(0);
  });

  test('an equal seed gives an equal sequence, another seed another', () => {
    expect(sequence(7)).toEqual(sequence(7));
    expect(sequence(8)).not.toEqual(sequence(7));
    expect(sequence(7)).toEqual([609, 933, 66, 487, 376, 409, 112, 430]);
  });

  test('a signal notifies only where a sleeper is flagged, after the store', () => {
    const notify = vi.spyOn(Atomics, 'notify').mockImplementation((_words, index) => {
      expect(words[index]).toBe(1);
      return 1;
    });
    try {
      drive(signal32(AT, 1, Order.release));
      given(0);
      drive(signalAdd32(AT, 1, Order.release));
      expect(notify).not.toHaveBeenCalled();
      given(0, 1);
      drive(signal32(AT, 1, Order.release));
      expect(notify).toHaveBeenCalledTimes(1);
      given(0, 1);
      drive(signalAdd32(AT, 1, Order.release));
      expect(notify.mock.calls.map(([, index]) => index)).toEqual([AT / 4, AT / 4]);
    } finally {
      notify.mockRestore();
    }
  });

  test('a sleeper is flagged exactly while it sleeps, and sleeps in slices', () => {
    given(4);
    const sleep = vi.spyOn(Atomics, 'wait').mockImplementation((_words, index, seen, timeout) => {
      expect([index, seen, timeout, ...found()]).toEqual([AT / 4, 4, 50, 0, 4, 1, 0]);
      return 'timed-out';
    });
    try {
      drive(wait(AT, 4));
      expect(sleep).toHaveBeenCalledTimes(1);
      expect(found()).toEqual([0, 4, 0, 0]);
    } finally {
      sleep.mockRestore();
    }
  });

  test('a waiter spins before it sleeps', () => {
    given(4);
    const sleep = vi.spyOn(Atomics, 'wait');
    const pause = vi.spyOn(Atomics, 'pause').mockImplementation(() => given(5));
    try {
      drive(wait(AT, 4));
      expect(pause).toHaveBeenCalledTimes(1);
      expect(sleep).not.toHaveBeenCalled();
    } finally {
      pause.mockRestore();
      sleep.mockRestore();
    }
  });

  test('a waiter that finds the stop word set throws Stopped', () => {
    words[STOP / 4] = Stop.abort;
    const sleep = vi.spyOn(Atomics, 'wait').mockReturnValue('timed-out');
    try {
      expect(() => drive(wait(AT, 0))).toThrow(Stopped);
      expect(found()).toEqual([0, 0, 0, 0]);
    } finally {
      sleep.mockRestore();
    }
  });

  test('the clock counts nanoseconds', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(2.5);
    try {
      expect(now()).toBe(2_500_000);
    } finally {
      clock.mockRestore();
    }
  });

  test('drive is the identity', () => {
    given(6);
    expect(drive(load32(AT, Order.once))).toBe(load32(AT, Order.once));
  });
});

describe.skipIf(isThreads)('without an execution', () => {
  test('choose is refused', () => {
    expect(() => drive(choose(2))).toThrow('choose needs a scheduler');
  });

  test('a wait that would block is refused', () => {
    expect(() => drive(wait(AT, 0))).toThrow(
      'a driven operation yielded: it waits for an agent that does not exist',
    );
  });

  test('the clock stands', () => {
    expect(now()).toBe(0);
  });
});
