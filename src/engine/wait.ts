/**
 * Blocking on a word of shared memory, on every platform: the part that `atomics-wait-polyfill` would play if that package
 * existed. Node allows `Atomics.wait` on every thread; a browser's main thread does not, and has to wait asynchronously.
 */

/** How a blocking wait ended. `not-equal`: the word had changed before; `timed-out` and `ok` as `Atomics.wait`. */
export type WaitResult = 'ok' | 'not-equal' | 'timed-out';

/** The builtins this module may find or miss; a test hands in platforms that lack some. */
export interface WaitPlatform {
  readonly wait:
    | ((words: Int32Array, index: number, seen: number, timeoutMs: number) => WaitResult)
    | undefined;
  readonly waitAsync:
    | ((
        words: Int32Array,
        index: number,
        seen: number,
        timeoutMs: number,
      ) => { readonly async: boolean; readonly value: WaitResult | Promise<WaitResult> })
    | undefined;
  readonly pause: (() => void) | undefined;
  /** Runs `then` after about `ms` milliseconds; used by the polling fallback only. */
  readonly later: (then: () => void, ms: number) => void;
}

/** Waiting on shared words, with what the platform has. */
export interface Waiting {
  /**
   * Blocks while the word holds `seen`, at most `timeoutMs` milliseconds.
   * @throws Error where the platform forbids blocking (a browser's main thread): use `waitAsync` there.
   */
  wait(words: Int32Array, index: number, seen: number, timeoutMs: number): WaitResult;
  /**
   * The same without blocking. Natively, or by polling every {@link POLL_MS} ms.
   * A pending native wait does not keep Node alive: hold a timer or a worker meanwhile.
   */
  waitAsync(words: Int32Array, index: number, seen: number, timeoutMs: number): Promise<WaitResult>;
  /** A hint that the caller spins; nothing where `Atomics.pause` is missing. */
  pause(): void;
}

/** Period of the polling fallback, milliseconds. */
export const POLL_MS = 1;

/** Builds the three functions from what a platform has. */
export function waitingOn(platform: WaitPlatform): Waiting {
  return {
    wait(words, index, seen, timeoutMs) {
      if (platform.wait === undefined) throw new Error('this thread may not block: use waitAsync');
      return platform.wait(words, index, seen, timeoutMs);
    },
    async waitAsync(words, index, seen, timeoutMs) {
      if (platform.waitAsync === undefined) return poll(platform, words, index, seen, timeoutMs);
      return platform.waitAsync(words, index, seen, timeoutMs).value;
    },
    pause: platform.pause ?? (() => {}),
  };
}

/** Polling cannot see a wake without a change of the word: it answers `ok` once the word differs. */
async function poll(
  platform: WaitPlatform,
  words: Int32Array,
  index: number,
  seen: number,
  timeoutMs: number,
): Promise<WaitResult> {
  if (Atomics.load(words, index) !== seen) return 'not-equal';
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += POLL_MS) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    platform.later(() => resolve(undefined), POLL_MS);
    await promise;
    if (Atomics.load(words, index) !== seen) return 'ok';
  }
  return 'timed-out';
}

/** Waiting with this platform's own builtins. */
export const waiting: Waiting = waitingOn({
  wait: (words, index, seen, timeoutMs) => Atomics.wait(words, index, seen, timeoutMs),
  waitAsync:
    typeof Atomics.waitAsync === 'function'
      ? (words, index, seen, timeoutMs) => Atomics.waitAsync(words, index, seen, timeoutMs)
      : undefined,
  pause: typeof Atomics.pause === 'function' ? () => Atomics.pause() : undefined,
  later: (then, ms) => {
    setTimeout(then, ms);
  },
});
