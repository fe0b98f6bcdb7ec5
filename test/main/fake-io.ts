import type { Output } from '../../src/main/run-options.ts';

/** An output that remembers what was written. */
export interface FakeIo extends Output {
  out(): string;
  err(): string;
}

export function fakeIo(isTTY: boolean = false, signal?: AbortSignal): FakeIo {
  const written = { out: '', err: '' };
  return {
    stdout: { write: (text) => (written.out += text) },
    stderr: { write: (text) => (written.err += text) },
    isTTY,
    signal,
    out: () => written.out,
    err: () => written.err,
  };
}
