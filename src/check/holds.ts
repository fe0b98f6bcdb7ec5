/** Who holds which lock, from the events of locks. Finds nothing itself. */
import { EventKind, LockMode, RECORD } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';

export interface Hold {
  readonly isShared: boolean;
  /** Event at which it was taken. */
  readonly since: number;
}

const NOBODY: ReadonlyMap<number, Hold> = new Map();

export class Holds {
  readonly #byLock = new Map<Word, Map<number, Hold>>();

  reset(): void {
    this.#byLock.clear();
  }

  /** By agent. */
  of(lock: Word): ReadonlyMap<number, Hold> {
    return this.#byLock.get(lock) ?? NOBODY;
  }

  /** What an agent holds, outermost first. */
  by(agent: number): readonly { readonly lock: Word; readonly isShared: boolean }[] {
    return Array.from(this.#byLock)
      .flatMap(([lock, holders]) => {
        const hold = holders.get(agent);
        return hold === undefined ? [] : [{ lock, ...hold }];
      })
      .toSorted((a, b) => a.since - b.since);
  }

  onEvent(record: Int32Array): void {
    const agentAndKind = record[RECORD.agentAndKind] as number;
    const agent = agentAndKind >> 16;
    const kind = agentAndKind & 0xffff;
    const lock = record[RECORD.location] as number;
    if (kind === EventKind.lockAcquired) {
      const isShared = record[RECORD.newHi] === LockMode.shared;
      const holders = this.#byLock.get(lock) ?? new Map<number, Hold>();
      this.#byLock.set(
        lock,
        holders.set(agent, { isShared, since: record[RECORD.sequence] as number }),
      );
    } else if (kind === EventKind.lockReleased) this.#byLock.get(lock)?.delete(agent);
  }
}
