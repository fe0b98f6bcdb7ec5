/** What the words of a run are called, and which of them only grow. */
import type { Word } from '../../engine/port.ts';
import { Mutex } from '../../locking/mutex.ts';
import { Rcu } from '../../locking/rcu.ts';
import { RwLock } from '../../locking/rw-lock.ts';
import { SpinLock } from '../../locking/spin-lock.ts';
import { Srcu } from '../../locking/srcu.ts';
import { ANSWER_BYTES, RING_BYTES } from '../../machine/tlbi.ts';
import type { Layout } from '../../workers/layout.ts';
import { WORDS, type WordName } from '../../workers/words.ts';

/** Bytes of a control word's place. */
const WORD_BYTES = 8;

interface Place {
  readonly name: string;
  readonly from: Word;
  readonly bytes: number;
  /** Tickets, sequences, grace periods, places in a ring. */
  readonly isMonotone: boolean;
}

export class VmWords {
  readonly #places: readonly Place[];

  constructor(layout: Layout) {
    const { words, locks, rwLocks, agents, interconnect } = layout;
    const { ring, answers, cpus } = interconnect;
    this.#places = [
      ...(Object.entries(words) as [WordName, Word][]).map(([name, from]) => {
        const { monotone: isMonotone } = WORDS[name];
        return { name, from, bytes: WORD_BYTES, isMonotone };
      }),
      ...Object.entries(locks).map(([name, at]) => grows(name, at, SpinLock.bytes(agents))),
      ...Object.entries(rwLocks).map(([name, at]) => grows(name, at, RwLock.bytes(agents))),
      grows('slots_lock', layout.slotsLock, Mutex.bytes(agents)),
      grows('slots_srcu', layout.slotsSrcu, Srcu.bytes(agents)),
      grows('tables_rcu', layout.tablesRcu, Rcu.bytes(agents)),
      grows('tlbi_ring', ring, RING_BYTES),
      grows('tlbi_answers', answers, cpus * ANSWER_BYTES),
    ];
  }

  nameOf(at: Word): string | null {
    return this.#placeOf(at)?.name ?? null;
  }

  /** The structure whose words only grow that a word is in; null for others. */
  monotone(at: Word): Word | null {
    const place = this.#placeOf(at);
    return place?.isMonotone === true ? place.from : null;
  }

  #placeOf(at: Word): Place | undefined {
    return this.#places.find(({ from, bytes }) => at >= from && at < from + bytes);
  }
}

function grows(name: string, from: Word, bytes: number): Place {
  return { name, from, bytes, isMonotone: true };
}
