/**
 * Model: what happened last to each entry, for messages. Those of one entry are found again among the last {@link KEPT} changes of entries, fills
 * and uses of translations; loads are left out, as every walk makes them.
 */
import { EventKind, RECORD } from '../engine/events.ts';
import type { Word } from '../engine/port.ts';
import { ipaOfTlbEvent } from './entry-bits.ts';
import { entryText, type Names } from './names.ts';

/** A power of two. */
const KEPT = 1024;
/** Events that a message shows. */
const SHOWN = 4;

const VERBS: ReadonlyMap<number, string> = new Map([
  [EventKind.store64, 'stored'],
  [EventKind.cas64, 'swapped in'],
  [EventKind.tlbFill, 'cached'],
  [EventKind.tlbUse, 'used'],
]);

/** An entry of a table: where it is, and what it maps. */
export interface Place {
  readonly at: Word;
  readonly ipa: number;
  readonly bytes: number;
}

export class LastEvents {
  readonly #names: Names;
  readonly #pageBytes: number;
  readonly #records = new Int32Array(KEPT * RECORD.words);
  #count = 0;

  constructor(names: Names, pageBytes: number) {
    this.#names = names;
    this.#pageBytes = pageBytes;
  }

  reset(): void {
    this.#count = 0;
  }

  onEvent(record: Int32Array): void {
    if (!VERBS.has((record[RECORD.agentAndKind] as number) & 0xffff)) return;
    this.#records.set(record, (this.#count++ & (KEPT - 1)) * RECORD.words);
  }

  /** The last events on an entry, the oldest first. */
  of(place: Place): readonly string[] {
    const found: string[] = [];
    const oldest = Math.max(0, this.#count - KEPT);
    for (let i = this.#count - 1; i >= oldest && found.length < SHOWN; i--) {
      const first = (i & (KEPT - 1)) * RECORD.words;
      const record = this.#records.subarray(first, first + RECORD.words);
      if (this.#isOn(record, place)) found.unshift(this.#text(record));
    }
    return found;
  }

  #isOn(record: Int32Array, { at, ipa, bytes }: Place): boolean {
    const kind = (record[RECORD.agentAndKind] as number) & 0xffff;
    if (!isOfTlb(kind)) return record[RECORD.location] === at;
    const page = ipaOfTlbEvent(record, this.#pageBytes);
    return page >= ipa && page < ipa + bytes;
  }

  #text(record: Int32Array): string {
    const field = (index: number): number => record[index] as number;
    const agentAndKind = field(RECORD.agentAndKind);
    const kind = agentAndKind & 0xffff;
    const who = this.#names.agent(agentAndKind >> 16);
    const old = entryText(this.#names, field(RECORD.oldLo), field(RECORD.oldHi));
    const what = `event ${field(RECORD.sequence)}: ${who} ${VERBS.get(kind)}`;
    if (isOfTlb(kind)) return `${what} ${old}`;
    return `${what} ${entryText(this.#names, field(RECORD.newLo), field(RECORD.newHi))} over ${old}`;
  }
}

function isOfTlb(kind: number): boolean {
  return kind === EventKind.tlbFill || kind === EventKind.tlbUse;
}
