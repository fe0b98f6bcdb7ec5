/**
 * Follows every table entry through a run: the states of section 6, a valid entry changed only in attributes or through LOCKED with its TLBI
 * complete, LOCKED ended by who began it. Passive; knows no code under test.
 */
import { Barrier } from '../../../src/engine/explore.ts';
import { EventKind } from '../../../src/engine/events.ts';
import type { Seen, TinyMachine } from '../../support/tiny-machine.ts';
import { LOCKED } from './helpers.ts';

/** R, W, XN, AF and software bits. */
const IN_PLACE = 0x07e0_0000_0000_04c0n;

interface Locking {
  readonly agent: number;
  /** A valid entry was broken, and its agent has not completed a TLBI since. */
  isCached: boolean;
}

export class EntryProtocol {
  readonly #values = new Map<number, bigint>();
  readonly #locked = new Map<number, Locking>();
  readonly #machine: TinyMachine;
  /** What went wrong, in words. */
  readonly broken: string[] = [];

  /** Takes the entries as they are now. */
  constructor(machine: TinyMachine) {
    this.#machine = machine;
    const { contents, frames, frameBytes } = machine.tableZone;
    for (let at = contents; at < contents + frames * frameBytes; at += 8) {
      const value = valueOf(machine.word(at), machine.word(at + 4));
      if (value !== 0n) this.#values.set(at, value);
    }
  }

  follow(seen: readonly Seen[]): void {
    const { contents, frames, frameBytes } = this.#machine.tableZone;
    for (const event of seen) {
      const { kind, at, agent, extra } = event;
      if (kind === EventKind.barrier && extra === Barrier.dsbIsh) this.#flushed(agent);
      if (at < contents || at >= contents + frames * frameBytes) continue;
      if (kind === EventKind.fill) this.#forget(at, frameBytes);
      if (kind === EventKind.store64 || kind === EventKind.cas64) this.#written(event);
    }
    for (const at of this.#locked.keys()) this.broken.push(`${at.toString(16)} is left locked`);
  }

  #written({ at, lo, hi, agent }: Seen): void {
    const old = this.#values.get(at) ?? 0n;
    const value = valueOf(lo, hi);
    // A compare-and-swap that failed.
    if (value === old) return;
    this.#values.set(at, value);
    const say = (what: string): void => {
      this.broken.push(`agent ${agent} ${what}: ${old.toString(16)} -> ${value.toString(16)}`);
    };
    const locking = this.#locked.get(at);
    if (locking !== undefined) {
      if (locking.agent !== agent) say('made what another broke');
      if (locking.isCached) say('made before its TLBI');
      this.#locked.delete(at);
    } else if (value === LOCKED) {
      this.#locked.set(at, { agent, isCached: (old & 1n) !== 0n });
    } else if ((old & 1n) === 0n || (value & 1n) === 0n) {
      say('changed without a break');
    } else if (((old ^ value) & ~IN_PLACE) !== 0n) say('changed more than attributes');
  }

  #flushed(agent: number): void {
    for (const locking of this.#locked.values()) {
      if (locking.agent === agent) locking.isCached = false;
    }
  }

  #forget(from: number, bytes: number): void {
    for (let at = from; at < from + bytes; at += 8) {
      this.#values.delete(at);
      this.#locked.delete(at);
    }
  }
}

function valueOf(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
