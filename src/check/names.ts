import type { Word } from '../engine/port.ts';
import { hex } from './entry-bits.ts';

/** How a run calls what events know by number. */
export interface Names {
  agent(agent: number): string;
  /** Null for a lock that has no name. */
  lock(at: Word): string | null;
  /** What an entry of a table means, in a few words. */
  entry(lo: number, hi: number): string;
}

/** An entry as messages have it: its bits, and what they mean. */
export function entryText(names: Names, lo: number, hi: number): string {
  return `${hex(lo, hi)} (${names.entry(lo, hi)})`;
}
