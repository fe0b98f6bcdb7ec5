/**
 * A schedule by hand: a test says who runs next, step by step. After the script the lowest runnable agent runs as long as it can, so
 * that the execution ends.
 */
import type { ExecutionView, Pending, Scheduler } from '../engine/execution.ts';

/** One line of a script: an agent runs some steps, or until the operation it has pending is the one meant, which it does not perform. */
export type ScriptLine =
  | { readonly agent: number; readonly steps: number }
  | { readonly agent: number; readonly until: (pending: Pending) => boolean }
  /** To the end, or until it waits. */
  | { readonly agent: number; readonly toEnd: true };

/** A line that asks for the impossible is an error of the test: it names the line. */
export class ScriptError extends Error {}

export class Scripted implements Scheduler {
  readonly #script: readonly ScriptLine[];
  readonly #choices: readonly number[];
  #line = 0;
  #steps = 0;
  #chosen = 0;

  /** `choices`: the results of `choose`, in order. */
  constructor(script: readonly ScriptLine[], choices: readonly number[] = []) {
    this.#script = script;
    this.#choices = choices;
  }

  next(view: ExecutionView): number {
    for (; this.#line < this.#script.length; this.#line++, this.#steps = 0) {
      const line = this.#script[this.#line] as ScriptLine;
      if (this.#isDone(line, view)) continue;
      if (!view.runnable.includes(line.agent)) {
        throw new ScriptError(`script line ${this.#line}: agent ${line.agent} cannot run`);
      }
      this.#steps++;
      return line.agent;
    }
    return view.runnable.includes(view.current) ? view.current : (view.runnable[0] as number);
  }

  choose(n: number): number {
    const choice = this.#choices[this.#chosen++];
    if (choice === undefined || choice >= n)
      throw new ScriptError(`no choice below ${n} in the script`);
    return choice;
  }

  /** Lines of the script that were reached; equal to its length once all were. */
  get linesDone(): number {
    return this.#line;
  }

  #isDone(line: ScriptLine, view: ExecutionView): boolean {
    if ('steps' in line) return this.#steps >= line.steps;
    if ('until' in line)
      return view.runnable.includes(line.agent) && line.until(view.pending(line.agent));
    return !view.runnable.includes(line.agent);
  }
}
