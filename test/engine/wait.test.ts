import { describe, expect, test, vi } from 'vitest';
import { POLL_MS, waiting, waitingOn, type WaitPlatform } from '../../src/engine/wait.ts';

const TIMEOUT_MS = 20_000;

/** A platform that has nothing; `later` runs at once. */
function bare(has: Partial<WaitPlatform> = {}): WaitPlatform {
  return {
    wait: undefined,
    waitAsync: undefined,
    pause: undefined,
    later: (then) => then(),
    ...has,
  };
}

function sharedWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(64));
}

describe('wait', () => {
  test("is the platform's own", () => {
    const wait = vi.fn<NonNullable<WaitPlatform['wait']>>(() => 'ok');
    const words = sharedWords();
    expect(waitingOn(bare({ wait })).wait(words, 3, 7, 50)).toBe('ok');
    expect(wait.mock.calls).toEqual([[words, 3, 7, 50]]);
  });

  test('is refused where the thread may not block', () => {
    expect(() => waitingOn(bare()).wait(sharedWords(), 0, 0, 1)).toThrow(
      'this thread may not block: use waitAsync',
    );
  });

  test('sees here that the word differs, or that time is up', () => {
    const words = sharedWords();
    words[2] = 5;
    expect(waiting.wait(words, 2, 4, TIMEOUT_MS)).toBe('not-equal');
    expect(waiting.wait(words, 2, 5, 0)).toBe('timed-out');
  });
});

describe('waitAsync', () => {
  test.each(['ok', 'not-equal', 'timed-out'] as const)(
    "is the platform's own: %s, at once or later",
    async (result) => {
      const words = sharedWords();
      const waitAsync = vi
        .fn<NonNullable<WaitPlatform['waitAsync']>>()
        .mockReturnValueOnce({ async: false, value: result })
        .mockReturnValueOnce({ async: true, value: Promise.resolve(result) });
      const native = waitingOn(bare({ waitAsync }));
      expect(await native.waitAsync(words, 1, 2, 3)).toBe(result);
      expect(await native.waitAsync(words, 1, 2, 3)).toBe(result);
      expect(waitAsync.mock.calls).toEqual([
        [words, 1, 2, 3],
        [words, 1, 2, 3],
      ]);
    },
  );

  test('is woken here by a notify', async () => {
    const words = sharedWords();
    // A pending native wait does not keep Node alive.
    const hold = setTimeout(() => {}, TIMEOUT_MS);
    try {
      const woken = waiting.waitAsync(words, 1, 0, TIMEOUT_MS);
      Atomics.store(words, 1, 1);
      expect(Atomics.notify(words, 1)).toBe(1);
      expect(await woken).toBe('ok');
    } finally {
      clearTimeout(hold);
    }
  });

  test('sees here that the word differs, or that time is up', async () => {
    const words = sharedWords();
    expect(await waiting.waitAsync(words, 1, 9, TIMEOUT_MS)).toBe('not-equal');
    expect(await waiting.waitAsync(words, 1, 0, 0)).toBe('timed-out');
  });
});

/** Polls; the word is set to 1 before the look with this number, counted from 1. */
function polling(setAt: number): { words: Int32Array; delays: number[]; platform: WaitPlatform } {
  const words = sharedWords();
  const delays: number[] = [];
  const platform = bare({
    later(then, ms) {
      delays.push(ms);
      if (delays.length === setAt) Atomics.store(words, 1, 1);
      then();
    },
  });
  return { words, delays, platform };
}

describe('the polling fallback', () => {
  test('sees a word that differs already', async () => {
    const { words, delays, platform } = polling(1);
    expect(await waitingOn(platform).waitAsync(words, 1, 4, 5)).toBe('not-equal');
    expect(delays).toEqual([]);
  });

  test('looks again after each period until the word differs', async () => {
    const { words, delays, platform } = polling(3);
    expect(await waitingOn(platform).waitAsync(words, 1, 0, 5)).toBe('ok');
    expect(delays).toEqual([POLL_MS, POLL_MS, POLL_MS]);
  });

  test('gives up when time is up', async () => {
    const { words, delays, platform } = polling(6);
    expect(await waitingOn(platform).waitAsync(words, 1, 0, 5)).toBe('timed-out');
    expect(delays).toHaveLength(5 / POLL_MS);
  });

  test('does not wait for no time', async () => {
    const { words, delays, platform } = polling(1);
    expect(await waitingOn(platform).waitAsync(words, 1, 0, 0)).toBe('timed-out');
    expect(delays).toEqual([]);
  });
});

describe('pause', () => {
  test("is the platform's own, or nothing", () => {
    const pause = vi.fn<() => void>();
    waitingOn(bare({ pause })).pause();
    expect(pause).toHaveBeenCalledTimes(1);
    expect(waitingOn(bare()).pause()).toBeUndefined();
  });

  test('is a hint to the processor here', () => {
    const pause = vi.spyOn(Atomics, 'pause');
    try {
      waiting.pause();
      expect(pause).toHaveBeenCalledTimes(1);
    } finally {
      pause.mockRestore();
    }
  });
});

/** This module as it comes up on a platform where one function of `Atomics` is missing. */
async function without(
  missing: 'waitAsync' | 'pause',
  look: (limited: typeof waiting) => Promise<void>,
): Promise<void> {
  const builtin = Object.getOwnPropertyDescriptor(Atomics, missing) as PropertyDescriptor;
  Object.defineProperty(Atomics, missing, { value: undefined, configurable: true });
  try {
    vi.resetModules();
    const { waiting: limited } = await import('../../src/engine/wait.ts');
    await look(limited);
  } finally {
    Object.defineProperty(Atomics, missing, builtin);
  }
}

describe('a platform', () => {
  test('without Atomics.pause does not pause', async () => {
    await without('pause', async (limited) => {
      expect(limited.pause()).toBeUndefined();
    });
  });

  test('without Atomics.waitAsync polls by its timer', async () => {
    const timer = vi.spyOn(globalThis, 'setTimeout');
    try {
      await without('waitAsync', async (limited) => {
        expect(await limited.waitAsync(sharedWords(), 0, 1, TIMEOUT_MS)).toBe('not-equal');
        expect(await limited.waitAsync(sharedWords(), 0, 0, 2 * POLL_MS)).toBe('timed-out');
      });
      const periods = timer.mock.calls.map(([, ms]) => ms);
      expect(periods).toEqual([POLL_MS, POLL_MS]);
    } finally {
      timer.mockRestore();
    }
  });
});
