/**
 * The order that every execution of one trace keeps: each agent's own steps, and dependent steps of two agents. A vector clock per
 * step says which steps of each agent come before it (Mattern, "Virtual time and global states of distributed systems", 1989).
 *
 * Executions are equal as Mazurkiewicz traces iff their clocks are: `fingerprint` counts traces. A *race* is a pair of dependent steps
 * with nothing ordered between them: the only pairs whose reversal gives another trace that cannot be had by reversing others.
 *
 * Buffers are kept from one execution to the next.
 */
import { Access, areDependent, isWaiting, wordBefore, type Step } from './step.ts';

/** Steps that touched one 32-bit word. */
interface WordHistory {
  readonly writes: number[];
  /** Since the last write that is no addition: the additions and the reads. */
  readonly additions: number[];
  readonly reads: number[];
  /** That write, or -1. */
  whole: number;
}

const WORD_BYTES = 4;
/** Accesses of more bytes are looked through one by one. */
const SMALL_BYTES = 8;

/** `first`: the place of a step in the execution; `second`: a later one of another agent, or one that it had pending. */
export interface Race {
  readonly first: number;
  readonly second: Step;
}

export class HappensBefore {
  readonly races: Race[] = [];
  readonly #agents: number;
  readonly #words: Map<number, WordHistory> = new Map();
  /** Histories that are not empty. */
  readonly #used: WordHistory[] = [];
  /** Steps on ranges. */
  readonly #ranges: number[] = [];
  /** Steps taken by each agent so far, and its last one. */
  readonly #counts: Int32Array;
  readonly #lasts: Int32Array;
  /** Of each step, in its agent's own counting from 1. */
  #numbers = new Int32Array(64);
  /** `agents` entries for each step. */
  #clocks: Int32Array;
  #steps: readonly Step[] = [];
  /** Steps taken in so far. */
  #noted = 0;
  readonly #candidates: number[] = [];
  readonly #clock: Int32Array;

  constructor(agents: number) {
    this.#agents = agents;
    this.#counts = new Int32Array(agents);
    this.#lasts = new Int32Array(agents);
    this.#clock = new Int32Array(agents);
    this.#clocks = new Int32Array(64 * agents);
  }

  /**
   * Takes in an execution; `pending` are steps that agents had before them when it ended, in any order. Its races are in `races` until the
   * next call.
   */
  load(steps: readonly Step[], pending: readonly Step[]): void {
    this.#reset(steps);
    for (let i = 0; i < steps.length; i++) {
      this.#order(steps[i] as Step);
      this.#note(i);
    }
    for (const step of pending) this.#order(step);
  }

  /** Whether step `first` comes before step `second` in every execution of the trace. */
  isBefore(first: number, second: number): boolean {
    const { agent } = this.#steps[first] as Step;
    return this.#clockOf(second, agent) >= (this.#numbers[first] as number);
  }

  /** Of the trace: 52 bits, the same for every order of independent steps. */
  fingerprint(): number {
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < this.#steps.length; i++) {
      const { agent, choice } = this.#steps[i] as Step;
      let a = Math.imul(agent + 1, 0x9e3779b1) ^ choice;
      let b = Math.imul(agent + 1, 0x85ebca6b) + choice;
      for (let other = 0; other < this.#agents; other++) {
        const time = this.#clockOf(i, other);
        a = Math.imul(a ^ time, 0x21f0aaad);
        a ^= a >>> 15;
        b = Math.imul(b + time, 0xc2b2ae35);
        b ^= b >>> 13;
      }
      lo = (lo + a) | 0;
      hi = (hi + Math.imul(b, 0x735a2d97)) | 0;
    }
    return (hi >>> 12) * 2 ** 32 + (lo >>> 0);
  }

  #reset(steps: readonly Step[]): void {
    this.#steps = steps;
    for (const history of this.#used) clear(history);
    this.#used.length = 0;
    this.#noted = 0;
    this.races.length = 0;
    this.#ranges.length = 0;
    this.#counts.fill(0);
    this.#lasts.fill(-1);
    if (this.#numbers.length < steps.length) {
      this.#numbers = new Int32Array(2 * steps.length);
      this.#clocks = new Int32Array(2 * steps.length * this.#agents);
    }
  }

  /** Works out the clock of a step that comes after all that were noted, and its races. */
  #order(step: Step): void {
    this.#clock.fill(0);
    const last = this.#lasts[step.agent] as number;
    if (last >= 0) this.#join(last);
    if (isWaiting(step.kind)) this.#raceOfWait(step);
    this.#collect(step);
    // The latest first: whatever comes before one that was joined is no race.
    this.#candidates.sort((a, b) => b - a);
    for (const first of this.#candidates) {
      if (this.#isCovered(first)) continue;
      if (!isWaiting(step.kind) || this.#isEnd(first, step))
        this.races.push({ first, second: step });
      this.#join(first);
    }
  }

  /**
   * A wait races with the latest write before which it would have been over. Writes that it needed cannot be reversed with it, but those
   * before them may.
   */
  #raceOfWait(step: Step): void {
    const writes = this.#words.get(step.at >>> 2)?.writes ?? [];
    for (let i = writes.length - 1; i >= 0; i--) {
      const first = writes[i] as number;
      if (this.#isCovered(first)) return;
      if (wordBefore(this.#steps[first] as Step, step.at, step.lo) === step.a) continue;
      this.races.push({ first, second: step });
      return;
    }
  }

  /** Earlier steps that this one depends on, without most of those that come before others of them. */
  #collect(step: Step): void {
    const candidates = this.#candidates;
    candidates.length = 0;
    if (this.#noted > 0 && (this.#steps[this.#noted - 1] as Step).isLast)
      candidates.push(this.#noted - 1);
    if (step.access === Access.none && !step.isLast) return;
    if (step.bytes > SMALL_BYTES || step.isLast) {
      for (let i = 0; i < this.#noted; i++) this.#consider(i, step);
      return;
    }
    for (const i of this.#ranges) this.#consider(i, step);
    for (let at = step.at; at < step.at + step.bytes; at += WORD_BYTES) {
      const history = this.#words.get(at >>> 2);
      if (history === undefined) continue;
      if (history.whole >= 0) candidates.push(history.whole);
      for (const i of history.additions) this.#consider(i, step);
      if (step.access === Access.write) candidates.push(...history.reads);
    }
  }

  /** Whether a step ended the execution although the agent of `step` could have gone on. */
  #isEnd(first: number, step: Step): boolean {
    const end = this.#steps[first] as Step;
    return end.isLast && !step.without(end).isBlocked;
  }

  #consider(i: number, step: Step): void {
    if (areDependent(this.#steps[i] as Step, step)) this.#candidates.push(i);
  }

  #note(i: number): void {
    const step = this.#steps[i] as Step;
    const { agent } = step;
    const number = (this.#counts[agent] as number) + 1;
    this.#counts[agent] = number;
    this.#lasts[agent] = i;
    this.#numbers[i] = number;
    this.#clock[agent] = number;
    this.#clocks.set(this.#clock, i * this.#agents);
    this.#noted = i + 1;
    if (step.access === Access.none) return;
    if (step.bytes > SMALL_BYTES) this.#ranges.push(i);
    else this.#noteWords(i, step);
  }

  #noteWords(i: number, { at, bytes, access, isAddition }: Step): void {
    for (let word = at >>> 2; word < (at + bytes) >>> 2; word++) {
      const history = this.#historyOf(word);
      if (history.writes.length + history.reads.length === 0) this.#used.push(history);
      if (access === Access.read) history.reads.push(i);
      else {
        history.writes.push(i);
        if (isAddition) history.additions.push(i);
        else settle(history, i);
      }
    }
  }

  #historyOf(word: number): WordHistory {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    const history = { writes: [], additions: [], reads: [], whole: -1 };
    this.#words.set(word, history);
    return history;
  }

  /** Whether a step comes before the one that is being ordered. */
  #isCovered(i: number): boolean {
    const { agent } = this.#steps[i] as Step;
    return (this.#clock[agent] as number) >= (this.#numbers[i] as number);
  }

  /** What comes before step `i`, and the step itself, comes before the one that is being ordered. */
  #join(i: number): void {
    const from = i * this.#agents;
    for (let agent = 0; agent < this.#agents; agent++) {
      const time = this.#clocks[from + agent] as number;
      if (time > (this.#clock[agent] as number)) this.#clock[agent] = time;
    }
  }

  #clockOf(i: number, agent: number): number {
    return this.#clocks[i * this.#agents + agent] as number;
  }
}

function clear(history: WordHistory): void {
  history.writes.length = 0;
  history.additions.length = 0;
  history.reads.length = 0;
  history.whole = -1;
}

/** Whatever comes later depends on write `i`, and `i` on all that came before. */
function settle(history: WordHistory, i: number): void {
  history.additions.length = 0;
  history.reads.length = 0;
  history.whole = i;
}
