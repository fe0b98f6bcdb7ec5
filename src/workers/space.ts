/** Handing out the shared memory of a run, one structure after the other. */
import type { Word } from '#port';
import { FRAME_BYTES } from '../machine/frames.ts';

/** Control words and structures that different agents write stand on lines of their own. */
const LINE_BYTES = 128;

/** Bytes of a structure that starts on a line of its own. */
export function lines(bytes: number): number {
  return Math.ceil(bytes / LINE_BYTES) * LINE_BYTES;
}

export class Space {
  next: Word;

  constructor(from: Word) {
    this.next = from;
  }

  take(bytes: number): Word {
    const at = this.next;
    this.next += lines(bytes);
    return at;
  }

  /** Aligned to a power of two. */
  takeAligned(bytes: number, alignment: number): Word {
    this.next = Math.ceil(this.next / alignment) * alignment;
    return this.take(bytes);
  }

  /** On pages of its own: `explore` saves and restores whole ones. */
  takePages(bytes: number): Word {
    return this.takeAligned(bytes, FRAME_BYTES);
  }
}

/** Something of `bytes` bytes for each name, on lines of its own. */
export function placed<Name extends string>(
  space: Space,
  names: readonly Name[],
  bytes: number,
): Record<Name, Word> {
  const entries = names.map((name) => [name, space.take(bytes)]);
  return Object.fromEntries(entries) as Record<Name, Word>;
}
