/**
 * All parts of an exploration, or those of one shard. What is counted depends on the parts and the budgets of schedules and steps, not on
 * how many explore: parts are counted in their order, and one that spent more than was left for it is explored again with what was.
 */
import { Tally } from '../../explore/tally.ts';
import type { Crew } from './crew.ts';
import type { Budget, Shard } from './options.ts';
import type { Part, Parts } from './parts.ts';
import type { End, PartReport, PartTask } from './part-runner.ts';

/** What a survey knows, and a checkpoint keeps. */
export interface Progress {
  readonly tally: Tally;
  /** Parts that are done. */
  readonly done: Set<number>;
  /** What the strategy promises. */
  bound: string;
}

interface Running {
  readonly index: number;
  readonly report: Promise<PartReport>;
}

export class Survey {
  /** All that was seen, unfinished parts included. */
  readonly tally: Tally = new Tally();
  readonly #progress: Progress;
  readonly #budget: Budget;
  readonly #endMs: number;
  readonly #save: () => void;

  /** `progress` is what is known already, and grows; `save` is called whenever it has. */
  constructor(progress: Progress, budget: Budget, endMs: number, save: () => void) {
    this.#progress = progress;
    this.#budget = budget;
    this.#endMs = endMs;
    this.#save = save;
    this.tally.add(progress.tally);
  }

  /** Explores what is left; says why it ended. */
  async run(parts: Parts, shard: Shard, crew: Crew): Promise<End> {
    const running: Running[] = [];
    const waiting = this.#waiting(parts, shard);
    let ended: End | null = null;
    try {
      for (;;) {
        if (ended === null) this.#fill(running, waiting, parts, crew);
        const first = running.shift();
        if (first === undefined) return ended ?? 'exhausted';
        const report = await this.#fitted(await first.report, parts.at(first.index), crew);
        this.#count(first.index, report);
        if (!report.isDone) ended ??= report.stopped;
        if (ended === 'schedules' || ended === 'steps') return ended;
      }
    } finally {
      this.#save();
    }
  }

  /** The parts of the shard that are not done, in their order. */
  *#waiting({ count }: Parts, { index, of }: Shard): Generator<number, undefined> {
    for (let part = index - 1; part < count; part += of)
      if (!this.#progress.done.has(part)) yield part;
    return undefined;
  }

  /** Gives everybody something to do, as long as there is anything. */
  #fill(running: Running[], waiting: Iterator<number>, parts: Parts, crew: Crew): void {
    while (running.length < crew.size) {
      const { value: index, done } = waiting.next();
      if (done === true) return;
      const report = crew.run(this.#taskOf(parts.at(index)));
      // Whoever waits for it hears of a failure; another that failed before ends the survey.
      report.catch(() => undefined);
      running.push({ index, report });
    }
  }

  #taskOf(part: Part): PartTask {
    const { schedules, steps, memory } = this.#budget;
    return {
      part,
      schedules: schedules - this.tally.schedules,
      steps: steps - this.tally.steps,
      endMs: this.#endMs,
      memory,
    };
  }

  /** The report, or that of the same part within what parts before it have left. */
  async #fitted(report: PartReport, part: Part, crew: Crew): Promise<PartReport> {
    const task = this.#taskOf(part);
    const { schedules, steps } = report.tally;
    return schedules > task.schedules || steps > task.steps ? await crew.run(task) : report;
  }

  #count(index: number, { tally, bound, isDone }: PartReport): void {
    this.tally.add(tally);
    this.#progress.bound = bound;
    if (isDone) {
      this.#progress.tally.add(tally);
      this.#progress.done.add(index);
      this.#save();
    } else {
      // The part will be explored again, but what it found is not lost until then.
      for (const failure of tally.failures.values()) this.#progress.tally.addFailure(failure);
    }
  }
}
