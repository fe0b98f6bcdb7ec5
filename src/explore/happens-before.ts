/**
 * The order that every execution of one trace keeps: each agent's own steps, and dependent steps of two agents. A vector clock per
 * step says which steps of each agent come before it (Mattern, "Virtual time and global states of distributed systems", 1989).
 *
 * Executions are equal as Mazurkiewicz traces iff their clocks are: `fingerprint` counts traces. A *race* is a pair of dependent steps
 * with nothing ordered between them: the only pairs whose reversal gives another trace that cannot be had by reversing others.
 *
 * An execution that begins with the same step objects as the last one costs only what is new.
 */
import { AccessHistory } from './access-history.ts';
import { areDependent, isWaiting, wordBefore, type Step } from './step.ts';
import type { Locks, Subject } from './subject.ts';

/** Two steps of different agents; the later one may be one that its agent had pending at the end. */
export interface Race {
  /** The place of the earlier step in the execution. */
  readonly first: number;
  /** The later step, as it would be without the earlier one. */
  readonly reversed: Step;
}

/** Steps for which there is room at first. */
const ROOM = 64;

export class HappensBefore {
  readonly races: Race[] = [];
  readonly #agents: number;
  readonly #locks: Locks;
  readonly #history = new AccessHistory();
  /** Steps taken by each agent so far, and its last one. */
  readonly #counts: Int32Array;
  readonly #lasts: Int32Array;
  /** Of each step: its number in its agent's own counting from 1, the agent's step before it, the races found before it. */
  #numbers = new Int32Array(ROOM);
  #previous = new Int32Array(ROOM);
  #racesBefore = new Int32Array(ROOM);
  /** `agents` entries for each step. */
  #clocks: Int32Array;
  /** Sums over the steps up to each, of the first `summed` steps. */
  #sumsLo = new Int32Array(ROOM);
  #sumsHi = new Int32Array(ROOM);
  #summed = 0;
  /** Where the clock begins that is being worked out. */
  #clock = 0;
  readonly #candidates: number[] = [];

  constructor({ agents, locks }: Pick<Subject, 'agents' | 'locks'>) {
    this.#agents = agents;
    this.#locks = locks;
    this.#counts = new Int32Array(agents);
    this.#lasts = new Int32Array(agents).fill(-1);
    this.#clocks = new Int32Array(ROOM * agents);
  }

  /**
   * Takes in an execution; `pending` are steps that agents had before them when it ended, in any order. Its races are in `races` until the
   * next call.
   */
  load(steps: readonly Step[], pending: readonly Step[]): void {
    if (steps.length >= this.#numbers.length) this.#makeRoom(2 * steps.length);
    const known = this.#history.steps;
    let same = 0;
    while (same < known.length && known[same] === steps[same]) same++;
    this.#takeBack(same);
    for (let i = same; i < steps.length; i++) this.#add(steps[i] as Step);
    this.#racesBefore[steps.length] = this.races.length;
    for (const step of pending) this.#order(step);
  }

  /** Gives to `into` the steps after `first` that do not have to come after it. */
  notAfter(first: number, into: Step[]): void {
    const { steps } = this.#history;
    const { agent } = steps[first] as Step;
    const number = this.#numbers[first] as number;
    let clock = (first + 1) * this.#agents + agent;
    for (let i = first + 1; i < steps.length; i++, clock += this.#agents)
      if ((this.#clocks[clock] as number) < number) into.push(steps[i] as Step);
  }

  /** Of the trace: 52 bits, the same for every order of independent steps. */
  fingerprint(): number {
    const { length } = this.#history.steps;
    for (; this.#summed < length; this.#summed++) this.#sum(this.#summed);
    const lo = length === 0 ? 0 : (this.#sumsLo[length - 1] as number);
    const hi = length === 0 ? 0 : (this.#sumsHi[length - 1] as number);
    return (hi >>> 12) * 2 ** 32 + (lo >>> 0);
  }

  #sum(i: number): void {
    const { agent, choice } = this.#history.steps[i] as Step;
    let a = Math.imul(agent + 1, 0x9e3779b1) ^ choice;
    let b = Math.imul(agent + 1, 0x85ebca6b) + choice;
    for (let other = 0; other < this.#agents; other++) {
      const time = this.#clocks[i * this.#agents + other] as number;
      a = Math.imul(a ^ time, 0x21f0aaad);
      a ^= a >>> 15;
      b = Math.imul(b + time, 0xc2b2ae35);
      b ^= b >>> 13;
    }
    const before = i === 0 ? 0 : (this.#sumsLo[i - 1] as number);
    const beforeHi = i === 0 ? 0 : (this.#sumsHi[i - 1] as number);
    this.#sumsLo[i] = before + a;
    this.#sumsHi[i] = beforeHi + Math.imul(b, 0x735a2d97);
  }

  /** Goes back to the first `length` steps of the last execution. */
  #takeBack(length: number): void {
    const { steps } = this.#history;
    this.races.length = this.#racesBefore[length] as number;
    this.#summed = Math.min(this.#summed, length);
    while (steps.length > length) {
      const { agent } = steps.at(-1) as Step;
      this.#counts[agent] = (this.#counts[agent] as number) - 1;
      this.#history.pop();
      this.#lasts[agent] = this.#previous[steps.length] as number;
    }
  }

  #add(step: Step): void {
    const { agent } = step;
    const i = this.#history.steps.length;
    this.#racesBefore[i] = this.races.length;
    this.#order(step);
    const number = (this.#counts[agent] as number) + 1;
    this.#counts[agent] = number;
    this.#numbers[i] = number;
    this.#clocks[this.#clock + agent] = number;
    this.#previous[i] = this.#lasts[agent] as number;
    this.#lasts[agent] = i;
    this.#history.push(step);
  }

  /** Works out the clock of a step that comes after all that were taken in, and its races. */
  #order(step: Step): void {
    this.#beginClock(this.#lasts[step.agent] as number);
    const isWait = isWaiting(step.kind);
    const isComing = this.#locks === 'wholes' && step.busy !== 0;
    if (isWait) this.#raceOfWait(step);
    else if (isComing) this.#racesOfComing(step);
    const candidates = this.#candidates;
    candidates.length = 0;
    this.#history.collect(step, candidates);
    // The latest first: whatever comes before one that was joined is no race. There is at most one of each agent.
    for (let first = this.#latest(candidates); first >= 0; first = this.#latest(candidates)) {
      if (!(isWait || isComing) || this.#isEnd(first, step)) this.#found(first, step);
      this.#join(first);
    }
  }

  /** The latest of some steps that does not come before the one that is being ordered; -1 if there is none. */
  #latest(candidates: readonly number[]): number {
    let latest = -1;
    for (const i of candidates) if (i > latest && !this.#isCovered(i)) latest = i;
    return latest;
  }

  /** With what comes before the agent's last step, and that step itself. */
  #beginClock(last: number): void {
    const agents = this.#agents;
    const clock = this.#history.steps.length * agents;
    this.#clock = clock;
    if (last < 0) this.#clocks.fill(0, clock, clock + agents);
    else this.#clocks.copyWithin(clock, last * agents, (last + 1) * agents);
  }

  /**
   * A wait races with the latest write before which it would have been over. Writes that it needed cannot be reversed with it, but those
   * before them may.
   */
  #raceOfWait(step: Step): void {
    const writes = this.#history.writesTo(step.at);
    for (let i = writes.length - 1; i >= 0; i--) {
      const first = writes[i] as number;
      if (this.#isCovered(first)) return;
      const write = this.#history.steps[first] as Step;
      if (wordBefore(write, step.at, step.lo) === step.a) continue;
      this.#found(first, step);
      return;
    }
  }

  /**
   * Who comes to a lock as a whole races with the last of those without whom it would have been free, with the last looks of its holders
   * since, and with who came before such a look. All else that happened to the lock in between has to come before it, or has nothing to do with it.
   */
  #racesOfComing(step: Step): void {
    const lasts: number[] = [];
    const writes = this.#history.writesTo(step.at);
    for (let i = writes.length - 1; i >= 0; i--) {
      const first = writes[i] as number;
      const write = this.#history.steps[first] as Step;
      const isCovered = this.#isCovered(first);
      const isInTheWay = write.isLate || this.#isFreeWithout(i, step);
      if (!isCovered && areDependent(write, step) && isInTheWay) this.#addLast(first, lasts);
      // Whatever comes before this one comes before what was found, or before the step.
      if (!write.isCommutative && (isCovered || lasts.length > 0)) break;
    }
    for (const look of this.#history.readsOf(step.at).toReversed())
      if (!this.#isCovered(look)) this.#addLast(look, lasts);
    for (const first of lasts) this.#found(first, step);
  }

  #addLast(i: number, lasts: number[]): void {
    if (!lasts.some((last) => this.#isBefore(i, last))) lasts.push(i);
  }

  /** Whether a lock would be free for `step` without the `i`th write to its word, and without what has to come after that. */
  #isFreeWithout(i: number, { at, lo, busy }: Step): boolean {
    const { steps } = this.#history;
    const writes = this.#history.writesTo(at);
    let word = lo;
    let after = lo;
    for (let j = writes.length - 1; j >= i; j--) {
      const place = writes[j] as number;
      const before = (steps[place] as Step).lo;
      if (j === i || this.#isBefore(writes[i] as number, place)) word -= after - before;
      after = before;
    }
    return (word & busy) === 0;
  }

  /** Whether step `first` comes before step `second` in every execution of the trace. */
  #isBefore(first: number, second: number): boolean {
    const { agent } = this.#history.steps[first] as Step;
    const time = this.#clocks[second * this.#agents + agent] as number;
    return time >= (this.#numbers[first] as number);
  }

  #found(first: number, step: Step): void {
    this.races.push({ first, reversed: step.without(this.#history.steps[first] as Step) });
  }

  /** Whether a step ended the execution although the agent of `step` could have gone on. */
  #isEnd(first: number, step: Step): boolean {
    const end = this.#history.steps[first] as Step;
    if (!end.isLast) return false;
    const without = step.without(end);
    return !without.isBlocked && !(this.#locks === 'wholes' && without.isLate);
  }

  /** Whether a step comes before the one that is being ordered. */
  #isCovered(i: number): boolean {
    const { agent } = this.#history.steps[i] as Step;
    return (this.#clocks[this.#clock + agent] as number) >= (this.#numbers[i] as number);
  }

  /** What comes before step `i`, and the step itself, comes before the one that is being ordered. */
  #join(i: number): void {
    const from = i * this.#agents;
    for (let agent = 0; agent < this.#agents; agent++) {
      const time = this.#clocks[from + agent] as number;
      const at = this.#clock + agent;
      if (time > (this.#clocks[at] as number)) this.#clocks[at] = time;
    }
  }

  /** For fewer than `steps` steps; what was taken in is forgotten. */
  #makeRoom(steps: number): void {
    this.#takeBack(0);
    this.#numbers = new Int32Array(steps);
    this.#previous = new Int32Array(steps);
    this.#racesBefore = new Int32Array(steps);
    this.#clocks = new Int32Array(steps * this.#agents);
    this.#sumsLo = new Int32Array(steps);
    this.#sumsHi = new Int32Array(steps);
  }
}
