import type { Output, Progress } from './run-options.ts';

const intervalMs = 100;
const eraseLine = '\r\u001B[K';

/** One line on standard error that is written over and over; silent where that is no terminal. */
export class ProgressLine {
  readonly #io: Output;
  readonly #now: () => number;
  #shownAt: number = Number.NEGATIVE_INFINITY;
  #isShown: boolean = false;

  /** `now` is in milliseconds. */
  constructor(io: Output, now: () => number = () => performance.now()) {
    this.#io = io;
    this.#now = now;
  }

  /** Shows how far the run is, at most ten times a second. */
  update(progress: Progress): void {
    if (!this.#io.isTTY || this.#now() - this.#shownAt < intervalMs) return;
    this.#shownAt = this.#now();
    this.#isShown = true;
    const { seed, round, accesses, faults } = progress;
    const [accessText, faultText] = [accesses, faults].map((count) =>
      count.toLocaleString('en-US'),
    );
    this.#io.stderr.write(
      `${eraseLine}seed ${seed}, round ${round}: ${accessText} accesses, ${faultText} faults`,
    );
  }

  /** Takes the line away, so that what follows begins on a clean one. */
  clear(): void {
    if (this.#isShown) this.#io.stderr.write(eraseLine);
    this.#isShown = false;
  }
}
