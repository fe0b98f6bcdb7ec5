/**
 * Who touched which word in an execution so far, so that the earlier steps that a step depends on are found without looking at all. It
 * grows and shrinks at its end: executions that begin alike share their beginning.
 */
import { EventKind } from '../engine/events.ts';
import { Access, areDependent, type Step } from './step.ts';

/** Places in the execution of the steps that touched one 32-bit word, ascending. */
interface WordHistory {
  readonly writes: number[];
  readonly reads: number[];
}

const NOBODY: WordHistory = { writes: [], reads: [] };

const WORD_BYTES = 4;
/** Accesses of more bytes are looked through one by one. */
const SMALL_BYTES = 8;
/** Pages of 4 KiB: ranges are pages of tables and of guests, and lines of these. */
const PAGE_SHIFT = 12;
const PAGE_BYTES = 2 ** PAGE_SHIFT;

export class AccessHistory {
  readonly steps: Step[] = [];
  readonly #words: Map<number, WordHistory> = new Map();
  /** Places of the steps on ranges that touched a page, ascending. */
  readonly #ranges: Map<number, number[]> = new Map();

  /** Places of the steps that wrote a word, ascending. */
  writesTo(at: number): readonly number[] {
    return (this.#words.get(at >>> 2) ?? NOBODY).writes;
  }

  /** Places of the steps that read it and wrote nothing. */
  readsOf(at: number): readonly number[] {
    return (this.#words.get(at >>> 2) ?? NOBODY).reads;
  }

  /** Adds to `into` the steps that one after them all depends on, without most of those that come before others of them. */
  collect(step: Step, into: number[]): void {
    const last = this.steps.length - 1;
    if (last >= 0 && (this.steps[last] as Step).isLast) into.push(last);
    if (step.isLast || isRange(step)) {
      for (let i = 0; i <= last; i++) this.#consider(i, step, into);
      return;
    }
    if (step.access === Access.none) return;
    for (const i of this.#ranges.get(step.at >>> PAGE_SHIFT) ?? []) this.#consider(i, step, into);
    for (let at = step.at; at < step.at + step.bytes; at += WORD_BYTES) {
      const history = this.#words.get(at >>> 2);
      if (history !== undefined) this.#collectFrom(history, step, into);
    }
  }

  push(step: Step): void {
    const place = this.steps.length;
    this.steps.push(step);
    if (step.access === Access.none) return;
    if (isRange(step)) for (const page of pagesOf(step)) this.#rangesOn(page).push(place);
    else
      for (let word = step.at >>> 2; word < (step.at + step.bytes) >>> 2; word++)
        placesIn(this.#historyOf(word), step).push(place);
  }

  /** Takes back the last step. */
  pop(): void {
    const step = this.steps.pop() as Step;
    if (step.access === Access.none) return;
    if (isRange(step)) for (const page of pagesOf(step)) this.#rangesOn(page).pop();
    else
      for (let word = step.at >>> 2; word < (step.at + step.bytes) >>> 2; word++)
        placesIn(this.#historyOf(word), step).pop();
  }

  /** The latest write that commutes with no other comes after all before it; later ones may change places with the step. */
  #collectFrom({ writes, reads }: WordHistory, step: Step, into: number[]): void {
    let whole = -1;
    for (let i = writes.length - 1; i >= 0 && whole < 0; i--) {
      const write = writes[i] as number;
      if ((this.steps[write] as Step).isCommutative) this.#consider(write, step, into);
      else whole = write;
    }
    if (whole >= 0) into.push(whole);
    if (step.access === Access.read) return;
    for (let i = reads.length - 1; i >= 0 && (reads[i] as number) > whole; i--)
      into.push(reads[i] as number);
  }

  #consider(i: number, step: Step, into: number[]): void {
    if (areDependent(this.steps[i] as Step, step)) into.push(i);
  }

  #rangesOn(page: number): number[] {
    const known = this.#ranges.get(page);
    if (known !== undefined) return known;
    const places: number[] = [];
    this.#ranges.set(page, places);
    return places;
  }

  #historyOf(word: number): WordHistory {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    const history = { writes: [], reads: [] };
    this.#words.set(word, history);
    return history;
  }
}

function isRange({ bytes, kind }: Step): boolean {
  return bytes > SMALL_BYTES || kind === EventKind.copy;
}

/** Numbers of the pages that a step on ranges reads or writes. */
function pagesOf({ at, source, bytes }: Step): ReadonlySet<number> {
  const pages = new Set<number>();
  for (const from of source < 0 ? [at] : [at, source])
    for (let page = from >>> PAGE_SHIFT; page * PAGE_BYTES < from + bytes; page++) pages.add(page);
  return pages;
}

function placesIn({ reads, writes }: WordHistory, { access }: Step): number[] {
  return access === Access.read ? reads : writes;
}
